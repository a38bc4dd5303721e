import sys

from oriel.hostd.main import main

sys.exit(main())

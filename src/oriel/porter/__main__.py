import sys

from oriel.porter.main import main

sys.exit(main())

import sys

from oriel.keeper.main import main

sys.exit(main())

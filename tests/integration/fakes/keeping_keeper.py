"""The keeper's own program, with a fake machine that can be halted, saved and restored."""

import sys

from oriel.keeper.main import main
from tests.integration.fakes.keeping import KeepingDriver

if __name__ == "__main__":
    sys.exit(main(drivers=lambda _runtime, _home: KeepingDriver()))

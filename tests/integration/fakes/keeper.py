"""The keeper's own program, with the fake machine in place of a real one."""

import sys

from oriel.keeper.main import main
from tests.integration.fakes.driver import FakeDriver

if __name__ == "__main__":
    sys.exit(main(drivers=lambda _runtime, _home: FakeDriver()))

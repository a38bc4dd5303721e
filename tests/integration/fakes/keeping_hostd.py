"""hostd's own program, with keepers of fake machines that can be halted, saved and restored."""

import sys

from oriel.hostd.main import main
from oriel.model.spec import Runtime
from tests.integration.fakes.hostd import probe
from tests.integration.fakes.keeping import KeepingDriver

if __name__ == "__main__":
    sys.exit(
        main(
            drivers=lambda _runtime, _home: KeepingDriver(),
            keeper=("-P", "-m", "tests.integration.fakes.keeping_keeper"),
            probes={Runtime.CONTAINER: probe},
        )
    )

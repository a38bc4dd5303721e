"""hostd's own program, with keepers of fake machines and a probe that says so."""

import sys

from oriel.hostd.main import main
from oriel.machine.driver import Probe
from oriel.model.spec import Isolation, Runtime
from tests.integration.fakes.driver import FakeDriver


async def probe(_image: object) -> Probe:
    return Probe(True, Isolation.CONTAINER, "a fake: it always works")


if __name__ == "__main__":
    sys.exit(
        main(
            drivers=lambda _runtime, _home: FakeDriver(),
            keeper=("-P", "-m", "tests.integration.fakes.keeper"),
            probes={Runtime.CONTAINER: probe},
        )
    )

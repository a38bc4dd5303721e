"""A process that starts a machine and dies: `python -m tests.contract.starter KIND < SPEC`."""

import asyncio
import json
import os
import pickle
import sys

from tests.contract.machines import DRIVERS


async def main() -> None:
    spec = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own test
    driver = DRIVERS[sys.argv[1]]()
    await driver.prepare_disk(spec)
    print("starting", flush=True)
    machine = await driver.start(spec)
    print(json.dumps(dict(machine.record)), flush=True)
    os._exit(0)


asyncio.run(main())

"""A host without machines: hostd and its keepers on real sockets, speaking the protocol of
docs/internals.md; desktops are objects in memory with a screen, an agent and a Chrome of their own.

In tests: `async with FakeHost(home) as host`. As a program, for work on the page or the command line:

    python -m tests.fakes.hostd --home DIR [--step-seconds 0.2]
    python -m oriel.controller --home DIR --port 8080

It keeps nothing: ended and started again it is a host whose desktops have vanished.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import oriel
from oriel.host.layout import Home
from oriel.model import wire
from oriel.model.errors import NotFoundError, OrielError, StateError, UnavailableError
from oriel.model.events import utc_now
from oriel.model.spec import DesktopSpec
from oriel.model.state import State
from tests.fakes.keeper import STEPS, Behaviour, FakeDesktop

__all__ = ["IMAGE", "STEPS", "WORKING", "Behaviour", "FakeDesktop", "FakeHost", "gone"]

IMAGE = "default@0123456789ab"
WORKING = {
    "firecracker": {"works": False, "isolation": "vm", "detail": "no KVM", "hint": "use a host with KVM"},
    "qemu": {"works": True, "isolation": "emulated-vm", "detail": "emulated", "hint": ""},
    "container": {"works": True, "isolation": "container", "detail": "works", "hint": ""},
}


class FakeHost:
    """`runtimes`, `images`: what it says it has. `fail_create`: raised by the next create."""

    def __init__(self, home: Home, *, step_s: float = 0.0) -> None:
        self.home = home
        self.behaviour = Behaviour(step_s=step_s)
        self.desktops: dict[str, FakeDesktop] = {}
        self.runtimes: dict[str, Mapping[str, Any]] = {name: dict(told) for name, told in WORKING.items()}
        self.images: list[dict[str, Any]] = [{
            "id": IMAGE, "name": "default", "version": "0123456789ab", "created_at": utc_now(),
            "size_bytes": 700 << 20, "in_use_by": [], "default": True,
        }]  # fmt: skip
        self.templates: dict[str, dict[str, Any]] = {}
        self.fail_create: OrielError | None = None
        self.hold_start = False  # new desktops wait in their start until their `hold` is set
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> FakeHost:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
        for desktop in self.desktops.values():
            await desktop.close()

    async def open(self) -> None:
        """hostd answers."""
        self.home.hostd.mkdir(parents=True, exist_ok=True)
        self.home.desktops.mkdir(parents=True, exist_ok=True)
        self.home.hostd_socket.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(
            self._serve, path=self.home.hostd_socket, limit=wire.MAX_LINE
        )

    async def close(self) -> None:
        """hostd goes; its keepers stay."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.home.hostd_socket.unlink(missing_ok=True)

    def named(self, name: str) -> FakeDesktop:
        return next(desktop for desktop in self.desktops.values() if desktop.spec.name == name)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers = {
            name.removeprefix("on_"): getattr(self, name) for name in dir(self) if name.startswith("on_")
        }
        with contextlib.suppress(asyncio.CancelledError):
            await wire.handle_connection(
                reader, writer, handlers, on_unknown_error=lambda e: OrielError(repr(e))
            )

    async def on_hello(self, _call: wire.Call) -> dict:
        return {
            "version": oriel.__version__,
            "pid": 1,
            "home": str(self.home.root),
            "runtimes": self.runtimes,
        }

    async def on_create(self, call: wire.Call) -> dict:
        if self.fail_create is not None:
            error, self.fail_create = self.fail_create, None
            raise error
        spec = DesktopSpec.from_json(call.args["spec"])
        if spec.id in self.desktops:
            raise StateError(f"there is already a desktop {spec.id}")
        desktop = FakeDesktop(spec, self.home.desktop(spec.id).keeper_socket, self.behaviour)
        desktop.origin = call.args.get("origin")
        if self.hold_start:
            desktop.hold.clear()
        await desktop.open()
        self.desktops[spec.id] = desktop
        return {"id": spec.id}

    async def on_list(self, _call: wire.Call) -> dict:
        return {
            "desktops": [
                {
                    "id": id_,
                    "name": one.spec.name,
                    "alive": one.alive,
                    "state": str(one.state),
                    "keeper_pid": 1,
                    "warm": one.warm,
                    "spare": one.spec.spare,
                }
                for id_, one in self.desktops.items()
            ]
        }

    async def on_remove(self, call: wire.Call) -> dict:
        desktop = self.desktops.get(call.args["id"])
        if desktop is None:
            return {}
        if desktop.fail_remove is not None:
            error, desktop.fail_remove = desktop.fail_remove, None
            raise error
        await desktop.become(State.DELETING)
        desktop.screen.cut()
        desktop.hold.set()
        await desktop.close()
        del self.desktops[call.args["id"]]
        shutil.rmtree(desktop.path.parent, ignore_errors=True)
        return {}

    async def on_renew(self, _call: wire.Call) -> dict:
        return {"renewed": sorted(self.desktops), "problems": []}

    async def on_sweep(self, _call: wire.Call) -> dict:
        return {"removed": [], "problems": []}

    async def on_images(self, _call: wire.Call) -> dict:
        return {"images": self.images}

    async def on_image_build(self, call: wire.Call) -> None:
        if call.args["recipe"] != "default":
            raise NotFoundError(f"there is no recipe {call.args['recipe']}")
        await call.answer({})
        done = {"phase": "done", "message": "", "done": True, "image": IMAGE}
        for line in ({"phase": "base", "message": "packages"}, done):
            await wire.write_line(call.writer, line)

    async def on_image_delete(self, call: wire.Call) -> dict:
        if any(desktop.spec.image == call.args["id"] for desktop in self.desktops.values()):
            raise StateError("a desktop uses this image")
        self.images = [image for image in self.images if image["id"] != call.args["id"]]
        return {}

    async def on_templates(self, _call: wire.Call) -> dict:
        return {"templates": list(self.templates.values())}

    async def on_template_build(self, call: wire.Call) -> None:
        await call.answer({})
        spec = call.args["spec"]
        await wire.write_line(call.writer, {"phase": "machine", "message": "machine: 0.1 s"})
        self.templates["qemu-0123456789ab"] = {
            **spec, "id": "qemu-0123456789ab", "created_at": utc_now(), "size_bytes": 1 << 20, "problem": "",
        }  # fmt: skip
        done = {"phase": "done", "message": "it is there", "done": True, "template": "qemu-0123456789ab"}
        await wire.write_line(call.writer, done)

    async def on_template_delete(self, call: wire.Call) -> dict:
        if self.templates.pop(call.args["id"], None) is None:
            raise NotFoundError("there is no such template")
        return {}

    async def on_doctor(self, _call: wire.Call) -> dict:
        return {"checks": [{"id": "root", "ok": True, "fatal": True, "detail": "fake", "hint": ""}]}


def gone() -> OrielError:
    return UnavailableError("fake trouble")


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--step-seconds", type=float, default=0.2)
    options = parser.parse_args()
    async with FakeHost(Home(options.home.resolve()), step_s=options.step_seconds):
        print(f"a fake host serves {options.home}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main())

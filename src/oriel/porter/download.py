"""So many bytes from the desktop to whoever asked for them, as they are."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from oriel.porter.outlet import Outlet

__all__ = ["Download"]

SCRATCH = bytearray(1 << 18)


class Download:
    """Begins at once. `on_ended` is called once, with `ok`, `left` (whoever asked went) or `unavailable`."""

    kind = "download"

    def __init__(
        self, client: socket.socket, desktop: socket.socket, size: int, on_ended: Callable[[str], None]
    ) -> None:
        self.bytes_in, self.bytes_out = 0, 0
        self._loop = asyncio.get_running_loop()
        self._client, self._desktop = client, desktop
        self._left = size
        self._on_ended = on_ended
        self._over = False
        self._out = Outlet(client, self._go_on, lambda: self._finish("left"))
        self._loop.add_reader(client, self._heard)
        self._go_on()

    def end(self, _code: int, _reason: str) -> None:
        self._finish("ended")

    def _go_on(self) -> None:
        if self._left:
            self._loop.add_reader(self._desktop, self._read)
        elif not self._out.waiting:
            self._finish("ok")

    def _read(self) -> None:
        try:
            count = self._desktop.recv_into(SCRATCH, min(self._left, len(SCRATCH)))
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if not count:
            # Fewer bytes than were announced: the connection's end tells.
            self._finish("unavailable")
            return
        self._left -= count
        self.bytes_out += count
        self._out.send(memoryview(SCRATCH)[:count])
        if self._over:
            return
        if self._out.waiting or not self._left:
            self._loop.remove_reader(self._desktop)
        if not self._left and not self._out.waiting:
            self._finish("ok")

    def _heard(self) -> None:
        """Nothing is expected: this is how its end is noticed."""
        try:
            heard = self._client.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            heard = b""
        if not heard:
            self._finish("left")

    def _finish(self, outcome: str) -> None:
        if self._over:
            return
        self._over = True
        for sock in (self._client, self._desktop):
            self._loop.remove_reader(sock)
        self._out.close()
        self._client.close()
        self._desktop.close()
        self._on_ended(outcome)

"""Pixels of the screen by shared memory (MIT-SHM), which Xlib for Python does not speak by itself."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Any

from oriel.model.errors import UnavailableError

__all__ = ["SharedScreen"]

EXTENSION = "MIT-SHM"
# <sys/ipc.h>, <sys/shm.h>
IPC_PRIVATE, IPC_RMID, IPC_CREAT = 0, 0, 0o1000
ALL_PLANES = 0xFFFFFFFF
Z_PIXMAP = 2


def _requests() -> tuple[Any, Any, Any]:
    """Attach, Detach and GetImage, as the protocol's description (xorgproto, shmproto.h) has them."""
    from Xlib.protocol import rq

    class Attach(rq.Request):  # type: ignore[misc]
        _request = rq.Struct(
            rq.Card8("opcode"), rq.Opcode(1), rq.RequestLength(),
            rq.Card32("segment"), rq.Card32("id"), rq.Bool("read_only"), rq.Pad(3),
        )  # fmt: skip

    class Detach(rq.Request):  # type: ignore[misc]
        _request = rq.Struct(rq.Card8("opcode"), rq.Opcode(2), rq.RequestLength(), rq.Card32("segment"))

    class GetImage(rq.ReplyRequest):  # type: ignore[misc]
        _request = rq.Struct(
            rq.Card8("opcode"), rq.Opcode(4), rq.RequestLength(), rq.Drawable("drawable"),
            rq.Int16("x"), rq.Int16("y"), rq.Card16("width"), rq.Card16("height"),
            rq.Card32("planes"), rq.Card8("format"), rq.Pad(3), rq.Card32("segment"), rq.Card32("offset"),
        )  # fmt: skip
        _reply = rq.Struct(
            rq.ReplyCode(), rq.Card8("depth"), rq.Card16("sequence_number"), rq.ReplyLength(),
            rq.Card32("visual"), rq.Card32("size"), rq.Pad(16),
        )  # fmt: skip

    return Attach, Detach, GetImage


def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    libc.shmat.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
    libc.shmget.argtypes = (ctypes.c_int, ctypes.c_size_t, ctypes.c_int)
    libc.shmdt.argtypes = (ctypes.c_void_p,)
    return libc


class SharedScreen:
    """One segment for a screen of `width` x `height`, 4 bytes a pixel (BGRX), rows without padding.

    All in the display's thread. UnavailableError if the server does not share memory with us.
    """

    def __init__(self, display: Any, width: int, height: int) -> None:
        self._display = display
        self.stride = width * 4
        self._width = width
        attach, self._detach, self._get_image = _requests()
        extension = display.query_extension(EXTENSION)
        if not extension or not extension.present:
            raise UnavailableError("the desktop's display shares no memory", hint="Xvfb must have MIT-SHM")
        self._opcode = extension.major_opcode
        self._libc = _libc()
        identity = self._libc.shmget(IPC_PRIVATE, self.stride * height, IPC_CREAT | 0o600)
        if identity < 0:
            raise UnavailableError("no shared memory is left in the desktop")
        self.address = self._libc.shmat(identity, None, 0)
        self._segment = display.display.allocate_resource_id()
        attach(
            display=display.display, opcode=self._opcode, segment=self._segment, id=identity, read_only=False
        )
        display.sync()
        # Gone with its last user, however we end.
        self._libc.shmctl(identity, IPC_RMID, None)

    def read(self, top: int, bottom: int) -> None:
        """The rows `top` to `bottom` (not included) as they are now, at their place in the segment."""
        self._get_image(
            display=self._display.display, opcode=self._opcode,
            drawable=self._display.screen().root, x=0, y=top, width=self._width, height=bottom - top,
            planes=ALL_PLANES, format=Z_PIXMAP, segment=self._segment, offset=top * self.stride,
        )  # fmt: skip

    def close(self) -> None:
        """Give the memory back; the connection may already be gone."""
        from Xlib.error import ConnectionClosedError

        if self.address is None:
            return
        with contextlib.suppress(ConnectionClosedError):  # then the server has let go by itself
            self._detach(display=self._display.display, opcode=self._opcode, segment=self._segment)
        self._libc.shmdt(self.address)
        self.address = None

"""What a viewer may say when it may only look (RFC 6143, and the extensions that noVNC speaks).

The filter sits between a viewer and the desktop's VNC server. It follows the viewer's half of the
protocol, lets through what a picture needs, and drops keys, pointer, clipboard and resizing. What it does
not know it refuses: an unknown message has no known length, and what follows could be anything.
"""

from __future__ import annotations

import struct

from oriel.model.errors import ForbiddenError, WireError

__all__ = ["ViewOnly"]

# Client messages: type -> length of the fixed part, whether it passes.
_FIXED: dict[int, tuple[int, bool]] = {
    0: (20, True),  # SetPixelFormat
    3: (10, True),  # FramebufferUpdateRequest
    4: (8, False),  # KeyEvent
    5: (6, False),  # PointerEvent
    150: (10, True),  # EnableContinuousUpdates
    250: (4, False),  # xvp: reboot and power off
}
SET_ENCODINGS, CLIENT_CUT_TEXT, FENCE, SET_DESKTOP_SIZE, QEMU = 2, 6, 248, 251, 255
MAX_ENCODINGS = 1024
MAX_FENCE = 64
VERSIONS = (b"RFB 003.007\n", b"RFB 003.008\n")
NO_SECURITY = 1


class ViewOnly:
    """Feed it what the viewer sends; it gives back what may go on to the server."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._step = "version"
        self._dropping = 0  # bytes of a refused message that are still to come

    def feed(self, data: bytes) -> bytes:
        """ForbiddenError for a message that a mere viewer has no reason to send."""
        passed = bytearray()
        if self._dropping:
            skipped = min(self._dropping, len(data))
            self._dropping -= skipped
            data = data[skipped:]
        self._held += data
        while self._take(passed):
            pass
        return bytes(passed)

    def _take(self, passed: bytearray) -> bool:
        """One whole message out of what is held, if there is one."""
        if self._step == "version":
            return self._greet(12, passed)
        if self._step == "security":
            return self._greet(1, passed)
        if self._step == "init":
            if not self._held:
                return False
            # Always shared: a viewer that asks to be alone would throw everyone else out.
            del self._held[:1]
            passed += b"\x01"
            self._step = "messages"
            return True
        return self._message(passed)

    def _greet(self, length: int, passed: bytearray) -> bool:
        if len(self._held) < length:
            return False
        said = bytes(self._held[:length])
        if self._step == "version" and said not in VERSIONS:
            raise WireError("a viewer must speak RFB 3.7 or 3.8")
        if self._step == "security" and said[0] != NO_SECURITY:
            # The desktop asks for no password; any other choice would add bytes we cannot follow.
            raise WireError("a viewer must choose the security type None")
        del self._held[:length]
        passed += said
        self._step = "security" if self._step == "version" else "init"
        return True

    def _message(self, passed: bytearray) -> bool:
        length, passes = self._measure()
        if length == 0 or (passes and len(self._held) < length):
            return False
        if passes:
            passed += self._held[:length]
        elif length > len(self._held):
            self._dropping = length - len(self._held)
        del self._held[:length]
        return bool(self._held)

    def _measure(self) -> tuple[int, bool]:
        """The length of the message that begins here, 0 if that cannot be told yet; whether it passes."""
        held = self._held
        if not held:
            return 0, False
        kind = held[0]
        if kind in _FIXED:
            return _FIXED[kind]
        if kind == SET_ENCODINGS:
            return self._counted(4, ">H", 2, 4, MAX_ENCODINGS), True
        if kind == FENCE:
            return self._counted(9, ">B", 8, 1, MAX_FENCE), True
        if kind == SET_DESKTOP_SIZE:
            return self._counted(8, ">B", 6, 16, 255), False
        if kind == CLIENT_CUT_TEXT:
            if len(held) < 8:
                return 0, False
            # Negative: the extended clipboard's form.
            return 8 + abs(struct.unpack_from(">i", held, 4)[0]), False
        if kind == QEMU:
            return self._qemu()
        raise ForbiddenError(f"a viewer that may only look sent message {kind}", code="view_only")

    def _counted(self, head: int, form: str, at: int, each: int, most: int) -> int:
        if len(self._held) < head:
            return 0
        count: int = struct.unpack_from(form, self._held, at)[0]
        if count > most:
            raise ForbiddenError(f"a viewer's message is too long ({count} parts)", code="view_only")
        return head + count * each

    def _qemu(self) -> tuple[int, bool]:
        held = self._held
        if len(held) < 2:
            return 0, False
        if held[1] == 0:  # extended key event
            return 12, False
        raise ForbiddenError("a viewer that may only look asked for sound", code="view_only")

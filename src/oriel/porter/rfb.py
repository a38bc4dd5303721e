"""What a viewer may say to a desktop's VNC server (RFC 6143, and the extensions that noVNC speaks).

The guard sits between them. It follows the viewer's half of the protocol, lets through what a picture
needs, and keys, pointer, clipboard and resizing only while the viewer drives; the clipboard only as far as
the desktop's rule lets it, either way. What it does not know it refuses: an unknown message has no known
length, and what follows could be anything. It remembers which keys and buttons went down, so that none stays
down when the viewer goes or somebody else takes over.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import Protocol

from oriel.model.clipboard import Way
from oriel.model.errors import ForbiddenError, WireError
from oriel.porter.outward import Outward, plain_encodings

__all__ = ["Hands", "NoHands", "RfbGuard"]


class Part(Enum):
    PICTURE = "picture"
    KEY = "key"
    POINTER = "pointer"
    CUT = "cut"
    RESIZE = "resize"
    NEVER = "never"


# Client messages: type -> length, what it is.
_FIXED: dict[int, tuple[int, Part]] = {
    0: (20, Part.PICTURE),  # SetPixelFormat
    3: (10, Part.PICTURE),  # FramebufferUpdateRequest
    4: (8, Part.KEY),
    5: (6, Part.POINTER),
    150: (10, Part.PICTURE),  # EnableContinuousUpdates
    250: (4, Part.NEVER),  # xvp: reboot and power off
}
PIXEL_FORMAT, SET_ENCODINGS, UPDATE_REQUEST, CLIENT_CUT_TEXT = 0, 2, 3, 6
CONTINUOUS, FENCE, SET_DESKTOP_SIZE, QEMU = 150, 248, 251, 255
MAX_ENCODINGS = 1024
MAX_FENCE = 64
MAX_CUT = 1 << 20
VERSIONS = (b"RFB 003.007\n", b"RFB 003.008\n")
NO_SECURITY = 1


class Hands(Protocol):
    """Whether what a viewer does counts now."""

    def drive(self) -> bool | None:
        """A key, a button, a paste: taking the lease if it is to be had. None: not known yet. Then the guard
        waits at this message, and asks again when it is fed again."""

    def move(self) -> bool:
        """The pointer alone, or letting go of something."""


class NoHands:
    """Of one who may only look."""

    def drive(self) -> bool:
        return False

    def move(self) -> bool:
        return False


class RfbGuard:
    """Feed it what the viewer sends; it gives back what may go on to the server."""

    def __init__(self, hands: Hands, clipboard: Way = Way.BOTH) -> None:
        self._hands = hands
        self._clipboard = clipboard
        self._outward = None if clipboard.gives else Outward()
        self._asked = False  # for a picture: then pixels keep their form where their length must be known
        self._held = bytearray()
        self._step = "version"
        self._dropping = 0  # bytes of a refused message that are still to come
        self._down: dict[tuple[int, int], bytes] = {}  # the release of each key that is down
        self._pointer = (0, 0, 0)  # buttons, x, y as last passed on

    def told(self, data: memoryview) -> bytes | memoryview:
        """What of the server's own words may go on to the viewer. WireError if they cannot be followed."""
        return data if self._outward is None else self._outward.feed(data)

    @property
    def holding(self) -> bool:
        """Whether any key or button is down by this viewer's hand."""
        return bool(self._down) or self._pointer[0] != 0

    def release(self) -> bytes:
        """What lets go of everything that is down."""
        released = b"".join(reversed(self._down.values()))
        self._down.clear()
        buttons, x, y = self._pointer
        if buttons:
            released += struct.pack(">BBHH", 5, 0, x, y)
            self._pointer = (0, x, y)
        return released

    def feed(self, data: bytes) -> bytes:
        """ForbiddenError for a message that a viewer has no reason to send."""
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
        if self._step == "version" and self._outward is not None and said != VERSIONS[-1]:
            raise WireError("a viewer must speak RFB 3.8 where the clipboard gives nothing out")
        if self._step == "security" and said[0] != NO_SECURITY:
            # The desktop asks for no password; any other choice would add bytes we cannot follow.
            raise WireError("a viewer must choose the security type None")
        del self._held[:length]
        passed += said
        self._step = "security" if self._step == "version" else "init"
        return True

    def _message(self, passed: bytearray) -> bool:
        length, part = self._measure()
        if length == 0:
            return False
        # A long message that will not pass is not kept until it is whole.
        taken = self._clipboard.takes and length <= MAX_CUT
        may_cut = part is not Part.CUT or (taken and self._hands.drive())
        if may_cut is None:
            return False
        if part is Part.NEVER or not may_cut:
            self._dropping = max(0, length - len(self._held))
        elif len(self._held) < length:
            return False
        else:
            message = bytes(self._held[:length])
            passes = self._passes(part, message)
            if passes is None:
                return False
            if passes:
                passed += message if self._outward is None else self._plain(self._outward, message)
        del self._held[:length]
        return bool(self._held)

    def _plain(self, outward: Outward, message: bytes) -> bytes:
        """A message as it may be where the server's words are followed."""
        kind = message[0]
        if kind == SET_ENCODINGS:
            return plain_encodings(message)
        if kind in (CONTINUOUS, FENCE):
            return b""  # they would be answered by what is not followed
        if kind == PIXEL_FORMAT:
            if self._asked:
                raise ForbiddenError(
                    "a viewer changed its pixels in the midst of a picture", code="view_only"
                )
            outward.pixels(message[4])
        self._asked = self._asked or kind == UPDATE_REQUEST
        return message

    def _passes(self, part: Part, message: bytes) -> bool | None:
        if part is Part.KEY:
            return self._key_passes(message)
        if part is Part.POINTER:
            return self._pointer_passes(*struct.unpack(">xBHH", message))
        return part in (Part.PICTURE, Part.CUT) or self._hands.drive()

    def _key_passes(self, message: bytes) -> bool | None:
        if message[0] == QEMU:
            down, keysym, code = struct.unpack(">HII", message[2:])
            up = message[:2] + bytes(2) + message[4:]
        else:
            (down, keysym), code = struct.unpack(">BxxI", message[1:]), 0
            up = message[:1] + b"\0" + message[2:]
        if not down:
            return self._down.pop((keysym, code), None) is not None or self._hands.move()
        if drives := self._hands.drive():
            self._down[keysym, code] = up
        return drives

    def _pointer_passes(self, buttons: int, x: int, y: int) -> bool | None:
        pressed = buttons & ~self._pointer[0]
        passes = self._hands.drive() if pressed else self._hands.move()
        if passes:
            self._pointer = (buttons, x, y)
        return passes

    def _measure(self) -> tuple[int, Part]:
        """The length of the message that begins here, 0 if that cannot be told yet; and what it is."""
        held = self._held
        if not held:
            return 0, Part.NEVER
        kind = held[0]
        if kind in _FIXED:
            return _FIXED[kind]
        if kind == SET_ENCODINGS:
            return self._counted(4, ">H", 2, 4, MAX_ENCODINGS), Part.PICTURE
        if kind == FENCE:
            return self._counted(9, ">B", 8, 1, MAX_FENCE), Part.PICTURE
        if kind == SET_DESKTOP_SIZE:
            return self._counted(8, ">B", 6, 16, 255), Part.RESIZE
        if kind == CLIENT_CUT_TEXT:
            if len(held) < 8:
                return 0, Part.CUT
            # Negative: the extended clipboard's form.
            return 8 + abs(struct.unpack_from(">i", held, 4)[0]), Part.CUT
        if kind == QEMU:
            return self._qemu()
        raise ForbiddenError(f"a viewer sent the unknown message {kind}", code="view_only")

    def _counted(self, head: int, form: str, at: int, each: int, most: int) -> int:
        if len(self._held) < head:
            return 0
        count: int = struct.unpack_from(form, self._held, at)[0]
        if count > most:
            raise ForbiddenError(f"a viewer's message is too long ({count} parts)", code="view_only")
        return head + count * each

    def _qemu(self) -> tuple[int, Part]:
        held = self._held
        if len(held) < 2:
            return 0, Part.KEY
        if held[1] == 0:  # extended key event
            return 12, Part.KEY
        raise ForbiddenError("a viewer asked for sound", code="view_only")

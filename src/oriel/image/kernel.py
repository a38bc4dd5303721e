"""The kernel as Firecracker wants it: the ELF file inside of a bzImage."""

from __future__ import annotations

import struct

from oriel.host import process
from oriel.model.errors import HostError

__all__ = ["elf_of", "payload_of"]

# Offsets in the boot header: Linux, Documentation/arch/x86/boot.rst
SETUP_SECTORS, MAGIC, PAYLOAD_OFFSET = 0x1F1, 0x202, 0x248
DECOMPRESSORS = {
    b"\x28\xb5\x2f\xfd": ["zstd", "-dcq"],
    b"\x1f\x8b": ["gzip", "-dcq"],
    b"\xfd7zXZ": ["xz", "-dcq"],
    b"\x02\x21\x4c\x18": ["lz4", "-dcq"],
}


def payload_of(image: bytes) -> bytes:
    """The compressed kernel in a bzImage. HostError if it is none."""
    if image[MAGIC : MAGIC + 4] != b"HdrS":
        raise HostError("the kernel is no bzImage", hint="choose another system.kernel in the recipe")
    offset, length = struct.unpack_from("<II", image, PAYLOAD_OFFSET)
    begin: int = (image[SETUP_SECTORS] + 1) * 512 + offset
    # The build appends the unpacked size, four bytes, which is not part of the compressed stream.
    return image[begin : begin + length - 4]


async def elf_of(image: bytes) -> bytes:
    """Unpack it. HostError if it is packed in a way unknown here."""
    payload = payload_of(image)
    for magic, argv in DECOMPRESSORS.items():
        if payload.startswith(magic):
            return (await process.run(argv, stdin=payload)).stdout
    raise HostError("the kernel is packed in an unknown way", hint="choose another system.kernel")

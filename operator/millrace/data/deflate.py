"""Raw deflate by independent blocks: cut by size, compressed on any thread, joined in order to one valid stream."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from isal import isal_zlib

BLOCK_BYTES = 1 << 20
LEVEL = 1
END = b"\x03\x00"  # an empty last block, which closes the stream
_SAMPLE = 8 << 10
_STORED_BYTES = 65535

Chunk = bytes | memoryview


def compressible(data: memoryview) -> bool:
    """A guess by two samples of 8 KiB, so that what cannot shrink costs no deflate. Depends on the bytes only."""
    if len(data) <= 4 * _SAMPLE:
        return True
    middle = len(data) // 2
    size = len(_finish(data[:_SAMPLE])) + len(_finish(data[middle : middle + _SAMPLE]))
    return size < 2 * _SAMPLE * 0.97


def deflate_block(data: memoryview) -> list[Chunk]:
    """Up to BLOCK_BYTES as deflate blocks that end on a byte and need nothing before them (a full flush).

    Bytes that do not shrink are stored blocks; those views point into `data`.
    """
    if compressible(data):
        coder = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, -15)
        packed: list[Chunk] = [coder.compress(data), coder.flush(isal_zlib.Z_FULL_FLUSH)]
        if sum(map(len, packed)) < len(data):
            return packed
    return list(_stored(data))


def deflate_whole(data: memoryview) -> bytes | None:
    """A complete deflate stream, or None where it would not be shorter than the data."""
    if not compressible(data):
        return None
    packed = _finish(data)
    return packed if len(packed) < len(data) else None


def _finish(data: memoryview) -> bytes:
    coder = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, -15)
    return bytes(coder.compress(data) + coder.flush())


def _stored(data: memoryview) -> Iterator[Chunk]:
    for start in range(0, len(data), _STORED_BYTES):
        piece = data[start : start + _STORED_BYTES]
        yield struct.pack("<BHH", 0, len(piece), len(piece) ^ 0xFFFF)
        yield piece

"""Raw deflate by independent blocks: cut by size, compressed on any thread, joined in order to one valid stream.

isa-l's level 1 takes a register that nothing has set into its match finder when a stream has no history yet
(`.write_first_byte` of igzip_icf_body_h1_gr_bt.asm): the third byte's position is filed under a random hash, and what
is found later differs from call to call. With a history that code is not reached. So the first PRIME_BYTES of each
stream are a stored block, which is given to isa-l as its dictionary: 13 bytes more, and always the same ones.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from isal import isal_zlib

BLOCK_BYTES = 1 << 20
LEVEL = 1
PRIME_BYTES = 8  # a dictionary needs four at least
END = b"\x03\x00"  # an empty last block, which closes the stream
_SAMPLE = 8 << 10
_STORED_BYTES = 65535

Chunk = bytes | memoryview


def compressible(data: memoryview) -> bool:
    """A guess by two samples of 8 KiB, so that what cannot shrink costs no deflate. Depends on the bytes only."""
    if len(data) <= 4 * _SAMPLE:
        return True
    middle = len(data) // 2
    samples = (data[:_SAMPLE], data[middle : middle + _SAMPLE])
    return sum(len(chunk) for sample in samples for chunk in _packed(sample, isal_zlib.Z_FINISH)) < 2 * _SAMPLE * 0.97


def deflate_block(data: memoryview) -> list[Chunk]:
    """Up to BLOCK_BYTES as deflate blocks that end on a byte and need nothing before them (a full flush).

    Bytes that do not shrink are stored blocks; those views point into `data`.
    """
    if len(data) > PRIME_BYTES and compressible(data):
        packed = _packed(data, isal_zlib.Z_FULL_FLUSH)
        if sum(map(len, packed)) < len(data):
            return packed
    return list(_stored(data))


def deflate_whole(data: memoryview) -> list[Chunk] | None:
    """A complete deflate stream, or None where it would not be shorter than the data."""
    if len(data) <= PRIME_BYTES or not compressible(data):
        return None
    packed = _packed(data, isal_zlib.Z_FINISH)
    return packed if sum(map(len, packed)) < len(data) else None


def _packed(data: memoryview, end: int) -> list[Chunk]:
    prime = bytes(data[:PRIME_BYTES])
    coder = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, -15, zdict=prime)
    head = struct.pack("<BHH", 0, len(prime), len(prime) ^ 0xFFFF) + prime
    return [head, coder.compress(data[PRIME_BYTES:]), coder.flush(end)]


def _stored(data: memoryview) -> Iterator[Chunk]:
    for start in range(0, len(data), _STORED_BYTES):
        piece = data[start : start + _STORED_BYTES]
        yield struct.pack("<BHH", 0, len(piece), len(piece) ^ 0xFFFF)
        yield piece

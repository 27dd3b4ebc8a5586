"""The fixed parts of a ZIP file (PKWARE's APPNOTE 6.3): headers, data descriptor, central directory, its end."""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAX32 = 0xFFFFFFFF
_DATE = 0x0021  # 1980-01-01, at 00:00
_UNIX = 3 << 8


@dataclass(slots=True)
class Member:
    """One member; sizes in bytes, `offset` of its local header. `zip64`: its sizes in the descriptor have 8 bytes."""

    name: bytes
    executable: bool
    method: int
    flags: int
    offset: int = 0
    crc: int = 0
    packed: int = 0
    size: int = 0
    zip64: bool = False


def flags(name: bytes) -> int:
    """Bit 11 says that a name is UTF-8; ASCII names do without, as the oldest readers like it."""
    return 0 if name.isascii() else 0x800


def local_header(member: Member) -> bytes:
    """The header in front of the data. With flag bit 3 the numbers are zero and follow in the descriptor."""
    extra = b""
    crc, packed, size = member.crc, member.packed, member.size
    if member.flags & 8:
        crc, packed, size = 0, 0, 0
        if member.zip64:
            packed = size = MAX32
            extra = struct.pack("<HHQQ", 1, 16, 0, 0)
    version = 45 if member.zip64 else 20
    sizes = (crc, packed, size, len(member.name), len(extra))
    head = struct.pack("<IHHHHHIIIHH", 0x04034B50, version, member.flags, member.method, 0, _DATE, *sizes)
    return head + member.name + extra


def descriptor(member: Member) -> bytes:
    """What follows the data of a member with flag bit 3."""
    return struct.pack("<IIQQ" if member.zip64 else "<IIII", 0x08074B50, member.crc, member.packed, member.size)


def central_record(member: Member, attributes: int) -> bytes:
    """The member's entry in the central directory; `attributes` are the external ones, the mode in the upper half."""
    numbers = (member.size, member.packed, member.offset)
    large = [n for n in numbers if n >= MAX32]
    size, packed, offset = (min(n, MAX32) for n in numbers)
    extra = struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large) if large else b""
    version = 45 if large or member.zip64 else 20
    head = struct.pack(
        "<IHHHHHHIIIHHHHHII",
        *(0x02014B50, _UNIX | version, version, member.flags, member.method, 0, _DATE, member.crc, packed, size),
        *(len(member.name), len(extra), 0, 0, 0, attributes, offset),
    )
    return head + member.name + extra


def end_records(count: int, start: int, length: int) -> bytes:
    """The end of the central directory of `count` members and `length` bytes at `start`; Zip64 where it must be."""
    out = b""
    if count >= 0xFFFF or start >= MAX32 or length >= MAX32:
        numbers = (count, count, length, start)
        out += struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, _UNIX | 45, 45, 0, 0, *numbers)
        out += struct.pack("<IIQI", 0x07064B50, 0, start + length, 1)
    few = min(count, 0xFFFF)
    return out + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, few, few, min(length, MAX32), min(start, MAX32), 0)

"""Whether an Ogg stream is whole: libogg passes over pages that are damaged or missing."""

import zlib
from typing import BinaryIO

from llm_compression.errors import InputError

_CAPTURE = b"OggS"  # what every page begins with
_HEADER = 27  # bytes, before the table of segments
_LAST = 4  # the flag of a stream's last page
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def check_pages(file: BinaryIO, name: str) -> None:
    """Read ``file`` page by page (RFC 3533, section 6).

    Raises:
        InputError: a page is damaged or missing, or more than one sound is there; calls it
            ``name``.
    """
    following: dict[int, int] = {}  # serial number of a stream -> number of its next page
    while not following or any(number >= 0 for number in following.values()):
        page = _page(file)
        if not page:
            raise InputError(
                f"{name} is damaged: its Ogg stream ends without its last page; it was cut, or "
                "never ended"
            )
        serial, number = (int.from_bytes(page[i : i + 4], "little") for i in (14, 18))
        if following.get(serial, number) != number:
            raise InputError(f"{name} is damaged: a page is missing from its Ogg stream")
        if _checksum(page) != int.from_bytes(page[22:26], "little"):
            raise InputError(
                f"{name} is damaged: page {number} of its Ogg stream is not as written"
            )
        following[serial] = -1 if page[5] & _LAST else number + 1
    if file.read(4) == _CAPTURE:  # of which libsndfile reads the first
        raise InputError(f"{name} holds several Ogg streams, one behind another; convert it to one")


def _page(file: BinaryIO) -> bytes:
    """The next page, empty at the end and where there is none."""
    header = file.read(_HEADER)
    if len(header) < _HEADER or not header.startswith(_CAPTURE):
        return b""
    table = file.read(header[-1])
    body = file.read(sum(table))
    return header + table + body if len(body) == sum(table) else b""


def _checksum(page: bytes) -> int:
    """CRC-32 with zlib's polynomial, but neither reflected nor inverted: of bits in reverse."""
    unsigned = page[:22] + bytes(4) + page[26:]
    reflected = zlib.crc32(unsigned.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)

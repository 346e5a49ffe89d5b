"""A seal: the checksum of a header, stored inside the header that it protects.

The header is written with zeros in the seal's place, hashed, and the digest put there. A reader
puts the zeros back and hashes again, so that no bit of the header is left uncovered.
"""

import hashlib
import re

MARK = "seal:sha256:"
BLANK = MARK + "0" * 64
_MARK, _ZEROS = MARK.encode(), b"0" * 64
_PLACE = re.compile(_MARK + b"([0-9a-f]{64})")


def digest(header: bytes) -> str:
    """The 64 hex digits that belong into the seals of a header, whatever stands there now."""
    found, start = hashlib.sha256(), 0
    with memoryview(header) as view:
        for place in places(header):
            found.update(view[start:place])
            found.update(_ZEROS)
            start = place + len(_ZEROS)
        found.update(view[start:])
    return found.hexdigest()


def places(header: bytes) -> list[int]:
    """Offsets in ``header`` of the digits of its seals."""
    found, place = [], header.find(_MARK)
    while place >= 0:  # a pattern would be looked for byte by byte
        if match := _PLACE.match(header, place):
            found.append(match.start(1))
        place = header.find(_MARK, match.end() if match else place + 1)
    return found


def intact(header: bytes) -> bool:
    """Whether the header carries at least one seal and every one is right."""
    found = {header[place : place + len(_ZEROS)] for place in places(header)}
    return found == {digest(header).encode()}

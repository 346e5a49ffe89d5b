"""A seal: the checksum of a header, stored inside the header that it protects.

The header is written with zeros in the seal's place, hashed, and the digest put there. A reader
puts the zeros back and hashes again, so that no bit of the header is left uncovered.
"""

import hashlib
import re

MARK = "seal:sha256:"
BLANK = MARK + "0" * 64
_PLACE = re.compile(MARK.encode() + b"([0-9a-f]{64})")


def digest(header: bytes) -> str:
    """The 64 hex digits that belong into the seals of a header, whatever stands there now."""
    return hashlib.sha256(_PLACE.sub(BLANK.encode(), header)).hexdigest()


def places(header: bytes) -> list[int]:
    """Offsets in ``header`` of the digits of its seals."""
    return [match.start(1) for match in _PLACE.finditer(header)]


def intact(header: bytes) -> bool:
    """Whether the header carries at least one seal and every one is right."""
    found = set(_PLACE.findall(header))
    return found == {digest(header).encode()}

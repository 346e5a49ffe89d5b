"""The metadata of an Arrow IPC file's schema, read without loading Arrow for it.

Importing pyarrow takes longer than all else that a mapped copy is opened by. The layout is that of
Arrow's Message.fbs and Schema.fbs (docs/source/format/Columnar.rst, "Encapsulated message format")
in the binary form of FlatBuffers: a table starts with the distance back to the places of its
fields, and what does not fit into a field is found by an offset from it.
"""

import mmap

_START = b"ARROW1\0\0" + b"\xff" * 4  # the file's magic, and that of its first message
_MESSAGE_HEADER, _SCHEMA_METADATA, _KEY, _VALUE = 2, 2, 0, 1  # numbers of fields
_MOST = 64  # pairs, so that damage costs no time


def schema_metadata(file: mmap.mmap) -> dict[bytes, bytes]:
    """The key-value pairs of the schema.

    Raises:
        ValueError: it is no Arrow IPC file with metadata.
    """
    start = len(_START) + 4
    if file[: len(_START)] != _START:
        raise ValueError("no Arrow IPC file")
    message = _Bytes(file[start : start + int.from_bytes(file[len(_START) : start], "little")])
    schema = message.behind(message.field(message.behind(0), _MESSAGE_HEADER))
    pairs = message.behind(message.field(schema, _SCHEMA_METADATA))
    count = message.number(pairs, 4)
    if count > _MOST:
        raise ValueError(f"{count} pairs")
    tables = [message.behind(pairs + 4 + 4 * i) for i in range(count)]
    return {message.text(table, _KEY): message.text(table, _VALUE) for table in tables}


class _Bytes:
    """A message as FlatBuffers lays it out."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def number(self, at: int, size: int) -> int:
        """Little-endian and unsigned, of ``size`` bytes."""
        if not 0 <= at <= len(self._content) - size:
            raise ValueError(f"an offset of {at} in {len(self._content)} bytes")
        return int.from_bytes(self._content[at : at + size], "little")

    def behind(self, at: int) -> int:
        """Where the offset that stands there leads to."""
        return at + self.number(at, 4)

    def field(self, table: int, number: int) -> int:
        """Where a field of a table stands."""
        back = self.number(table, 4)
        places = table - (back - (1 << 32) if back >> 31 else back)  # a signed distance
        known = self.number(places, 2)  # bytes
        place = 4 + 2 * number
        offset = self.number(places + place, 2) if place + 2 <= known else 0
        if not offset:
            raise ValueError(f"no field {number}")
        return table + offset

    def text(self, table: int, number: int) -> bytes:
        """The string in a field of a table."""
        at = self.behind(self.field(table, number))
        stop = at + 4 + self.number(at, 4)
        if stop > len(self._content):
            raise ValueError(f"a string up to {stop} in {len(self._content)} bytes")
        return self._content[at + 4 : stop]

"""IdIndex: from ids to rows of one fragment, by sorted 64-bit hashes."""

import numpy as np
import pyarrow as pa

_STEP = np.uint64(0x9E3779B97F4A7C15)  # an odd constant: 2^64 over the golden ratio
_CHUNK = 1 << 16


class IdIndex:
    """The hashes of a fragment's ids, 12 bytes a row; candidates are to be compared as strings."""

    def __init__(self, ids: pa.Array) -> None:
        hashes = hash_ids(ids)
        self._order = np.argsort(hashes, kind="stable").astype(np.uint32)
        self._sorted = hashes[self._order]

    def candidates(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of an index into ``hashes`` (n,) and a row with that hash."""
        low = np.searchsorted(self._sorted, hashes, "left")
        high = np.searchsorted(self._sorted, hashes, "right")
        counts = high - low
        which = np.repeat(np.arange(len(hashes)), counts)
        starts = np.repeat(low - np.concatenate(([0], np.cumsum(counts)[:-1])), counts)
        return which, self._order[starts + np.arange(len(which))].astype(np.int64)


def hash_ids(ids: pa.Array) -> np.ndarray:
    """(n,) uint64, a polynomial in the bytes of each string, modulo 2^64."""
    parts = [_hash_chunk(ids[i : i + _CHUNK]) for i in range(0, len(ids), _CHUNK)]
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def _hash_chunk(ids: pa.Array) -> np.ndarray:
    _, offsets_buffer, data_buffer = ids.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[ids.offset : ids.offset + len(ids) + 1]
    lengths = np.diff(offsets)
    if not offsets[-1] - offsets[0]:
        return np.zeros(len(ids), np.uint64)
    data = np.frombuffer(data_buffer, np.uint8)[offsets[0] : offsets[-1]].astype(np.uint64)
    starts = np.repeat(offsets[:-1] - offsets[0], lengths)
    powers = _powers(int(lengths.max()))
    terms = (data + np.uint64(1)) * powers[np.arange(len(data)) - starts]
    totals = np.concatenate(([np.uint64(0)], np.cumsum(terms, dtype=np.uint64)))
    ends = offsets - offsets[0]
    sums = totals[ends[1:]] - totals[ends[:-1]]
    mixed: np.ndarray = (sums ^ (sums >> np.uint64(32))) * _STEP
    return mixed


def _powers(n: int) -> np.ndarray:
    return np.cumprod(np.full(n, _STEP), dtype=np.uint64)

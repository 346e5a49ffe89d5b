"""The shared library: its structures and functions, as library.c and its headers have them.

It is built with the package where there is a C compiler, and asks the processor at run time.
"""

import ctypes
import functools
import hashlib
import mmap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ctypes import (
    POINTER,
    Array,
    Structure,
    byref,
    c_double,
    c_float,
    c_int,
    c_int64,
    c_void_p,
)
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

from llm_compression.cores import cores
from llm_compression.native.openmp import openmp
from llm_compression.native.sums import BackgroundSums, SumsTask
from llm_compression.spec.block import Activation

if TYPE_CHECKING:  # who checks sums without a model pays for no torch
    import torch

PATH = Path(__file__).with_name("native.so")
ACTIVATIONS = {  # vector.h, Activation
    None: 0,
    Activation.GELU: 1,
    Activation.GELU_TANH: 2,
    Activation.QUICK_GELU: 3,
    Activation.RELU: 4,
    Activation.SILU: 5,
}


PARTS = ("linear maps", "attention", "norms", "copies")  # of a pass; core.h, Part


class Kind(IntEnum):
    """What products are computed in; product.h."""

    FLOAT32 = 0
    BFLOAT16 = 1
    INT8 = 2

    @property
    def per_lane(self) -> int:
        """Numbers in a lane of 32 bits."""
        return (1, 2, 4)[self]


class Linear(Structure):
    """linear.h, Linear."""

    _fields_ = (
        ("panels", c_void_p),
        ("parts", c_void_p * 3),
        ("part_rows", c_int64),
        ("bias", c_void_p),
        ("steps", c_void_p),
        ("sums", c_void_p),
        ("inputs", c_int64),
        ("outputs", c_int64),
    )


class Norm(Structure):
    """core.h, Norm."""

    _fields_ = (("weight", c_void_p), ("bias", c_void_p), ("eps", c_float))


class Block(Structure):
    """core.h, Block."""

    _fields_ = (
        ("qkv", Linear),
        ("o", Linear),
        ("up", Linear),
        ("down", Linear),
        ("attn_norm", Norm),
        ("mlp_norm", Norm),
    )


class Heads(Structure):
    """attention.h, Heads."""

    _fields_ = (
        ("kind", c_int),
        ("to_kind", c_int),
        ("count", c_int64),
        ("size", c_int64),
        ("causal", c_int),
        ("scale", c_float),
        ("amx", c_int),
    )


class Core(Structure):
    """core.h, Core."""

    _fields_ = (
        ("kind", c_int),
        ("amx", c_int),
        ("heads", Heads),
        ("norm_first", c_int),
        ("activation", c_int),
        ("depth", c_int64),
        ("width", c_int64),
        ("inner", c_int64),
        ("blocks", POINTER(Block)),
    )


class Sequences(Structure):
    """attention.h, Sequences."""

    _fields_ = (("count", c_int64), ("starts", c_void_p), ("key_scores", c_void_p))


class Pass(Structure):
    """core.h, Pass."""

    _fields_ = (
        ("rows", c_int64),
        ("sequences", Sequences),
        ("wanted", c_void_p),
        ("wanted_rows", c_int64),
        ("taps", c_void_p),
        ("hidden", c_void_p),
        ("to", c_void_p),
        ("seconds", c_void_p),
    )


class OpenMP(Structure):
    """team.h, OpenMP."""

    _fields_ = (("parallel", c_void_p), ("size", c_void_p), ("number", c_void_p))


class Library:
    """The functions.

    Args:
        core: the library itself.
        threads: the OpenMP whose threads run a pass.
    """

    def __init__(self, core: ctypes.CDLL, threads: ctypes.CDLL) -> None:
        names = ("GOMP_parallel", "omp_get_num_threads", "omp_get_thread_num")
        self._openmp = OpenMP(*(ctypes.cast(getattr(threads, n), c_void_p) for n in names))
        self._core = core
        self._seconds: Array[c_double] | None = None
        self.amx = bool(core.core_amx())  # whether products are by its matrix units
        core.core_scratch.restype = c_int64
        matrices = (POINTER(c_void_p), c_int64, c_int64, c_int64)
        core.core_pack.argtypes = (*matrices, POINTER(OpenMP), c_int, c_void_p)
        core.core_norm.argtypes = (POINTER(Norm), c_void_p, c_int64, c_int64, c_void_p)
        core.sums_start.argtypes = (c_void_p, c_int64, POINTER(c_void_p))
        core.sums_wait.argtypes = (POINTER(c_void_p),)
        core.sums_start.restype = core.sums_wait.restype = None

    def runs(self, kind: Kind) -> bool:
        """Whether this processor has the instructions."""
        return bool(self._core.core_kinds() >> kind & 1)

    def pack(
        self, kind: Kind, parts: "list[torch.Tensor]", threads: int, to: "torch.Tensor"
    ) -> None:
        """Matrices (out, in) of one shape, as one whose rows stand one after another, packed.

        ``to`` has `packed_lanes` of 32 bits.
        """
        rows, numbers = parts[0].shape
        pointers = (c_void_p * len(parts))(*(part.data_ptr() for part in parts))
        # fmt: off
        self._core.core_pack(pointers, len(parts), rows, numbers // kind.per_lane,
                             byref(self._openmp), min(threads, cores()), to.data_ptr())
        # fmt: on

    def run(self, core: Core, one: Pass, threads: int) -> None:
        """One pass by so many threads; more than there are cores would wait for each other."""
        import torch

        threads = min(threads, cores())

        size = self._core.core_scratch(byref(core), byref(one), threads)
        scratch = torch.empty(size, dtype=torch.uint8, device="cpu")
        pointer = c_void_p(scratch.data_ptr())
        seconds = self._seconds  # stays until the pass is done, whoever ends measuring
        one.seconds = None if seconds is None else ctypes.addressof(seconds)
        self._core.core_run(byref(core), byref(one), byref(self._openmp), threads, pointer)

    def norm(self, norm: Norm, rows: "torch.Tensor", to: "torch.Tensor") -> None:
        """Rows (..., D), float32 and one after another, normed; in this thread."""
        width = rows.shape[-1]
        count = rows.numel() // width
        self._core.core_norm(byref(norm), rows.data_ptr(), count, width, to.data_ptr())

    @contextmanager
    def measured(self) -> Iterator[dict[str, float]]:
        """The seconds that passes inside spend in each of `PARTS`, there when the context ends."""
        found: dict[str, float] = {}
        self._seconds = (c_double * len(PARTS))()
        try:
            yield found
        finally:
            found.update(zip(PARTS, self._seconds, strict=True))
            self._seconds = None

    def sums(self, tasks: "Array[SumsTask]", of: object) -> BackgroundSums:
        """What adds up in the background; ``of`` owns the memory that ``tasks`` point to."""
        return BackgroundSums(self._core, tasks, of)


def packed_lanes(kind: Kind, out: int, inputs: int) -> int:
    """Lanes of 32 bits that a matrix (out, in) takes when it is packed; tile.h."""
    return -(-out // 32) * 32 * (inputs // kind.per_lane)


def room_for(lanes: int) -> "torch.Tensor":
    """(lanes,) of 32 bits on pages as large as the system gives.

    A pass reads all weights, and of a short text looking up small pages of them is felt.
    """
    import torch

    room = mmap.mmap(-1, 4 * lanes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a system without large pages
        room.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(room, dtype=torch.int32)


@functools.cache
def library() -> Library | None:
    """The library, None where it was not built or cannot be used.

    It is damaged or of other sources, the processor has not the instructions that all of it
    needs, or torch has not the OpenMP that it runs on.
    """
    threads = openmp()
    if threads is None or not _is_whole(PATH):
        return None
    try:
        found = Library(ctypes.CDLL(str(PATH)), threads)
    except OSError:  # built for another system
        return None
    return found if found.runs(Kind.FLOAT32) else None


def _is_whole(path: Path) -> bool:
    """Whether a library ends in its `seal`."""
    try:
        content = path.read_bytes()
    except OSError:
        return False
    size = hashlib.sha256().digest_size
    return content[-size:] == seal(path.parent, content[:-size])


def seal(folder: Path, compiled: bytes) -> bytes:
    """Of a library and the sources in ``folder``; hatch_build.py puts it behind the library."""
    found = hashlib.sha256()
    for source in sorted([*folder.glob("*.c"), *folder.glob("*.h")]):
        found.update(source.read_bytes())
    found.update(compiled)
    return found.digest()

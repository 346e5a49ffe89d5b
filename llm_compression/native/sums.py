"""BackgroundSums: sums over words of mapped memory, by a thread of the library; sums.h."""

import ctypes
from ctypes import Array, Structure, byref, c_int64, c_void_p
from typing import ClassVar


class SumsTask(Structure):
    """sums.h, SumsTask."""

    _fields_ = (
        ("words", c_void_p),
        ("rows", c_int64),
        ("row_sums", c_void_p),
        ("column_sums", c_void_p),
    )


class BackgroundSums:
    """Sums by a thread of the library.

    An exception of a signal handler may come after any call, so it is the library that notes what
    runs, and what runs keeps itself and its memory.
    """

    _running: ClassVar[set["BackgroundSums"]] = set()

    def __init__(self, core: ctypes.CDLL, tasks: "Array[SumsTask]", of: object) -> None:
        self._core, self._tasks, self._of = core, tasks, of
        self._started = c_void_p()

    def start(self) -> None:
        """Begin; `wait` has to be called, whatever comes between."""
        self._running.add(self)
        self._core.sums_start(self._tasks, len(self._tasks), byref(self._started))

    def wait(self) -> bool:
        """Wait until all is added up; False where the system had no thread for it."""
        was_started = bool(self._started)
        self._core.sums_wait(byref(self._started))
        self._running.discard(self)
        return was_started

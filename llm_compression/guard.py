"""Guard: a lock between the threads of one process, which a forked child finds free."""

import os
import threading


class Guard:
    """A lock for each process: that of a parent may be held by a thread that the child has not."""

    def __init__(self) -> None:
        self._by_process: dict[int, threading.Lock] = {}

    @property
    def lock(self) -> threading.Lock:
        """That of this process."""
        return self._by_process.setdefault(os.getpid(), threading.Lock())

"""Locks on open files, which die with the process that takes them and no child of it shares.

`flock` locks what `os.open` made, and a fork leaves that to both: a child would hold the lock for
as long as it lives, though its parent had given it back or was killed.
"""

import fcntl
import os

_taken: set[int] = set()  # descriptors that are locked, or wait to be


def take(descriptor: int, *, wait: bool) -> bool:
    """Lock an open file against all others who opened it; false if one has it, without ``wait``.

    To be given to `close` in the end, whatever came of it.
    """
    _taken.add(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def close(descriptor: int) -> None:
    """Unlock and close what `take` was given; a child has nothing to close."""
    if descriptor in _taken:
        _taken.discard(descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # whoever forked without Python has it too
        os.close(descriptor)


def _leave_to_the_parent() -> None:
    for descriptor in _taken:
        os.close(descriptor)
    _taken.clear()


os.register_at_fork(after_in_child=_leave_to_the_parent)

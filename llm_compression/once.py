"""Once: a value that is made on first use, by one thread however many ask."""

from collections.abc import Callable
from typing import Generic, TypeVar

from llm_compression.guard import Guard

T = TypeVar("T")


class Once(Generic[T]):
    """Calls ``make`` on the first call and gives its value ever after; an error is not kept.

    Once there is a value, ``make`` and what it holds are let go.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make: list[Callable[[], T]] = [make]
        self._guard = Guard()
        self._values: list[T] = []

    def __call__(self) -> T:
        """The value.

        Raises:
            Exception: what ``make`` raises; the next call tries again.
        """
        if not self._values:
            with self._guard.lock:
                if self._make:
                    self._values.append(self._make[0]())
                    self._make.clear()
        return self._values[0]

    @property
    def made(self) -> T | None:
        """The value, None before it is made."""
        return self._values[0] if self._values else None

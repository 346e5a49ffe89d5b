"""What the storage asks of the operating system: recorded, or refused."""

import os
import pathlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.memory.storage.disk import Op

Before = Callable[[Op], None]
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Calls:
    """Wraps every function by which the storage changes a folder, while the fixture lasts.

    Args:
        monkeypatch: undoes it.
        root: changes elsewhere are let through.
        before: called with each change before it is made; what it raises stops the change.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path, before: Before) -> None:
        self.log: list[Op] = []
        self._root, self._before = root, before
        self._paths: dict[int, str] = {}  # of open descriptors
        for name in ("open", "write", "fsync", "mkdir", "unlink", "rename", "replace", "close"):
            wrapped = self._wrap(name, getattr(os, name))
            monkeypatch.setattr(os, name, wrapped)
            if hasattr(getattr(pathlib, "_NormalAccessor", None), name):  # Python 3.10
                monkeypatch.setattr(pathlib._NormalAccessor, name, staticmethod(wrapped))

    def _wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        seen = getattr(self, f"_{name}", None)

        def wrapped(first: Any, *args: Any, **kwargs: Any) -> Any:
            return seen(call, first, *args, **kwargs)

        return wrapped

    def _change(self, op: Op | None, call: Callable[[], Any]) -> Any:
        if op is None:
            return call()
        self._before(op)
        result = call()
        self.log.append(op if op.kind != "write" else op._replace(value=op.value[:result]))
        return result

    def _inside(self, path: Any) -> str | None:
        full = Path(path).absolute()
        return str(full.relative_to(self._root)) if full.is_relative_to(self._root) else None

    def _open(self, call: Any, path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        inside = self._inside(path)
        writes = inside is not None and flags & _WRITING
        new = writes and not Path(path).exists()
        opened = self._change(
            Op("create", inside) if new else None, lambda: call(path, flags, *args, **kwargs)
        )
        if inside is not None:
            self._paths[opened] = inside
        return opened

    def _close(self, call: Any, descriptor: int) -> None:
        self._paths.pop(descriptor, None)
        call(descriptor)

    def _write(self, call: Any, descriptor: int, data: Any) -> int:
        path = self._paths.get(descriptor)
        op = None if path is None else Op("write", path, bytes(data))
        return self._change(op, lambda: call(descriptor, data))

    def _fsync(self, call: Any, descriptor: int) -> None:
        path = self._paths.get(descriptor)
        self._change(None if path is None else Op("fsync", path), lambda: call(descriptor))

    def _mkdir(self, call: Any, path: Any, *args: Any) -> None:
        self._change(self._if_inside("mkdir", path), lambda: call(path, *args))

    def _unlink(self, call: Any, path: Any) -> None:
        self._change(self._if_inside("unlink", path), lambda: call(path))

    def _rename(self, call: Any, path: Any, target: Any) -> None:
        op = self._if_inside("rename", path)
        named = op and op._replace(value=str(self._inside(target)).encode())
        self._change(named, lambda: call(path, target))

    _replace = _rename

    def _if_inside(self, kind: str, path: Any) -> Op | None:
        inside = self._inside(path)
        return None if inside is None else Op(kind, inside)

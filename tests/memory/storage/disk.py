"""A file system in memory that knows what a loss of power would leave of it."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import NamedTuple

Tree = dict[str, bytes | None]  # path -> content, None for a folder


@dataclass
class Node:
    """A file or folder: as it is, and as of its last fsync."""

    data: bytearray = field(default_factory=bytearray)
    safe_data: bytes = b""
    names: "dict[str, Node] | None" = None  # of folders
    safe_names: "dict[str, Node]" = field(default_factory=dict)


class Op(NamedTuple):
    """One change: ``create``, ``mkdir``, ``write``, ``fsync``, ``rename`` or ``unlink``."""

    kind: str
    path: str  # of what is changed, as it was called then
    value: bytes = b""  # what is written, or the new name


class Disk:
    """Takes changes one after another, and says what a crash leaves."""

    def __init__(self) -> None:
        self.root = Node(names={})

    def do(self, op: Op) -> None:
        folder, name = self._at(str(PurePath(op.path).parent)), PurePath(op.path).name
        if op.kind == "create":
            folder.names.setdefault(name, Node())
        elif op.kind == "mkdir":
            folder.names[name] = Node(names={})
        elif op.kind == "write":
            folder.names[name].data += op.value
        elif op.kind == "rename":
            target = PurePath(op.value.decode())
            self._at(str(target.parent)).names[target.name] = folder.names.pop(name)
        elif op.kind == "unlink":
            del folder.names[name]
        elif op.kind == "fsync":
            synced = self._at(op.path)
            synced.safe_data, synced.safe_names = bytes(synced.data), dict(synced.names or {})

    def left(self, crash: "Crash") -> Tree:
        """Every file and folder that there is after a crash."""
        tree: Tree = {}
        todo = [("", self.root)]
        while todo:
            path, node = todo.pop()
            for name, inner in crash.names(node).items():
                inside = f"{path}{name}"
                tree[inside] = crash.data(inner) if inner.names is None else None
                if inner.names is not None:
                    todo.append((f"{inside}/", inner))
        return tree

    def _at(self, path: str) -> Node:
        node = self.root
        for name in PurePath(path).parts:
            node = node.names[name]
        return node


class Crash(NamedTuple):
    """What of a node outlives: its names, and its data."""

    names: Callable[[Node], dict[str, Node]]
    data: Callable[[Node], bytes]


def nothing_unsynced() -> Crash:
    return Crash(lambda node: node.safe_names, lambda node: node.safe_data)


def names_without_data() -> Crash:
    return Crash(lambda node: node.names, lambda node: node.safe_data)


def names_with_half_of_the_data() -> Crash:
    return Crash(lambda node: node.names, _half)


def everything() -> Crash:
    return Crash(lambda node: node.names, lambda node: bytes(node.data))


def some(seed: int) -> Crash:
    """Each change of a name, and each file's data, by the throw of a coin."""
    chosen = random.Random(seed)

    def names(node: Node) -> dict[str, Node]:
        known = sorted({*node.safe_names, *node.names})
        kept = {name: chosen.choice((node.safe_names, node.names)).get(name) for name in known}
        return {name: inner for name, inner in kept.items() if inner is not None}

    def data(node: Node) -> bytes:
        return chosen.choice((node.safe_data, _half(node), bytes(node.data)))

    return Crash(names, data)


def _half(node: Node) -> bytes:
    return bytes(node.data[: (len(node.safe_data) + len(node.data)) // 2])


def write(tree: Tree, folder: Path) -> None:
    """Make the files and folders of a tree."""
    for path in sorted(tree):
        content = tree[path]
        if content is None:
            (folder / path).mkdir(parents=True)
        else:
            (folder / path).write_bytes(content)


def read(folder: Path) -> Tree:
    """The tree of a folder."""
    found = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in found}

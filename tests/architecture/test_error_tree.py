"""The tree drawn at the top of errors.py is the tree of its classes."""

import inspect
import re

from llm_compression import errors

ROW = re.compile(r"^([│ ├└─]*)(\w+Error)\b")


def drawn() -> dict[str, str]:
    """Child -> parent, as drawn."""
    parents, path = {}, []
    for line in inspect.getdoc(errors).splitlines():
        if row := ROW.match(line):
            depth = len(row[1]) // 4
            path[depth:] = [row[2]]
            parents[row[2]] = path[depth - 1] if depth else ""
    return parents


def built() -> dict[str, str]:
    """Child -> parent, as the classes have it."""
    root = errors.LLMCompressionError
    classes = [value for value in vars(errors).values() if inspect.isclass(value)]
    return {c.__name__: "" if c is root else c.__bases__[0].__name__ for c in classes}


def test_drawn_tree_is_the_tree_of_classes() -> None:
    assert drawn() == built()


def test_every_error_descends_from_the_root() -> None:
    assert all(issubclass(getattr(errors, name), errors.LLMCompressionError) for name in built())

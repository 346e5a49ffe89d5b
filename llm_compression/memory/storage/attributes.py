"""Metadata as rows of JSON, and as attributes that Arrow can filter.

An attribute is a key and one value: nested objects give keys joined by dots, lists one attribute
for each element. So ``{"tags": ["a", "b"], "by": {"age": 7}}`` has ``tags`` = a, ``tags`` = b and
``by.age`` = 7, and a condition holds where any attribute of its key meets it. An empty list or
object has NaN, which is there and equals nothing.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from llm_compression.errors import InputError
from llm_compression.memory.storage.layout import ATTRIBUTE

_INT64 = 1 << 63


def metadata_columns(metadata: Sequence[Mapping[str, Any] | None]) -> tuple[pa.Array, pa.Array]:
    """Columns ``metadata`` and ``attributes``; None is an empty object.

    Raises:
        InputError: one is no mapping of strings to what JSON can hold; names the row.
    """
    texts, found = [], []
    for row, one in enumerate(metadata):
        given = {} if one is None else one
        if not isinstance(given, Mapping):
            raise InputError(f"metadata of row {row} is {type(one).__name__}; give a dict")
        try:
            texts.append(json.dumps(_keyed(given), **_STRICT))
            texts[-1].encode()  # or a lone surrogate would pass
            about = json.loads(texts[-1])
            found.append(list(_attributes(about, "")) if about else [])
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InputError(
                f"metadata of row {row} is no JSON: {error}; give strings, numbers, "
                "booleans, None, lists and dicts"
            ) from error
    return pa.array(texts, pa.string()), pa.array(found, pa.list_(_ELEMENT))


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} {value!r} cannot be stored")


_STRICT: dict[str, Any] = {"ensure_ascii": False, "allow_nan": False, "default": _number}


def _keyed(value: Any) -> Any:
    """The same, once all keys are strings: JSON would make one of 1 and "1"."""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r} is {type(key).__name__}, not a string")
        return {key: _keyed(inner) for key, inner in value.items()}
    return [_keyed(inner) for inner in value] if isinstance(value, (list, tuple)) else value


_ELEMENT = pa.field("element", ATTRIBUTE, nullable=False)


def _attributes(value: Any, key: str) -> Iterator[dict[str, Any]]:
    if value in ([], {}):
        yield {"key": key, "number": math.nan}
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _attributes(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for inner in value:
            yield from _attributes(inner, key)
    else:
        yield {"key": key, **_typed(value)}


def _typed(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"flag": value}
    if isinstance(value, int) and -_INT64 <= value < _INT64:
        return {"integer": value}
    if isinstance(value, int):  # the float puts it in order, the digits tell it apart
        return {"number": float(value), "text": str(value)}
    if isinstance(value, float):
        return {"number": value}
    return {"text": value}

"""Filter: conditions on columns and metadata, evaluated by Arrow.

The language is that of vector databases: ``{"speaker": "ann", "year": {"$gte": 2020}}`` wants both;
``$and``, ``$or`` and ``$not`` combine. A name of a column means the column, ``metadata.<key>`` or
any other name a key of the metadata.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llm_compression.errors import InputError
from llm_compression.memory.storage.layout import ATTRIBUTES, SOURCES, TIMESTAMP
from llm_compression.memory.storage.rows import microseconds

Mask = np.ndarray
Condition = Callable[[pa.Table], Mask]
_COLUMNS = {"embedding_id", "modality", "model", "fingerprint", "timestamp", "duration_seconds"}
_ORDER: dict[str, Callable[..., Any]] = {
    "$gt": pc.greater,
    "$gte": pc.greater_equal,
    "$lt": pc.less,
    "$lte": pc.less_equal,
}
_OPERATORS = ("$eq", "$ne", *_ORDER, "$in", "$nin", "$exists")


class Filter:
    """A condition that rows meet or not.

    Args:
        given: a mapping as above; an empty one is met by every row.

    Raises:
        InputError: an operator or a value that cannot be.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.columns: set[str] = set()
        self._holds = self._all(given)

    def mask(self, table: pa.Table) -> Mask:
        """(n,) bool for a table that has ``columns``."""
        return self._holds(table)

    def _all(self, given: object) -> Condition:
        if not isinstance(given, Mapping):
            raise InputError(f"a filter is a dict such as {{'speaker': 'ann'}}, not {given!r}")
        parts = [self._one(name, wanted) for name, wanted in given.items()]
        return lambda table: _every([part(table) for part in parts], len(table))

    def _one(self, name: object, wanted: Any) -> Condition:
        if name in ("$and", "$or"):
            parts = [self._all(part) for part in _list(name, wanted)]
            join = _every if name == "$and" else _any
            return lambda table: join([part(table) for part in parts], len(table))
        if name == "$not":
            inner = self._all(wanted)
            return lambda table: ~inner(table)
        if not isinstance(name, str) or name.startswith("$"):
            raise InputError(f"{name!r} is no operator here; use $and, $or, $not or a key")
        if not isinstance(wanted, Mapping):
            wanted = {"$eq": wanted}
        if not wanted:
            raise InputError(f"{name!r} has no operator; use {', '.join(_OPERATORS)}")
        parts = [self._test(name, operator, value) for operator, value in wanted.items()]
        return lambda table: _every([part(table) for part in parts], len(table))

    def _test(self, name: str, operator: str, value: Any) -> Condition:
        if operator not in _OPERATORS:
            raise InputError(f"{operator!r} of {name!r} is not one of {', '.join(_OPERATORS)}")
        if operator in ("$ne", "$nin"):  # also of rows that have no such value
            inner = self._test(name, "$eq" if operator == "$ne" else "$in", value)
            return lambda table: ~inner(table)
        _check_value(name, operator, value)
        column = name in _COLUMNS or name in SOURCES.values()
        self.columns.add(name if column else ATTRIBUTES)
        if column:
            return lambda table: _column_mask(table[name].combine_chunks(), operator, value)
        key = name.removeprefix("metadata.")
        return lambda table: _attribute_mask(
            table[ATTRIBUTES].combine_chunks(), key, operator, value
        )


def equals(name: str, values: Sequence[str]) -> dict[str, Any]:
    """The filter for a column that is one of ``values``."""
    return {name: {"$in": list(values)}}


def _every(masks: list[Mask], n: int) -> Mask:
    found: Mask = np.logical_and.reduce([np.ones(n, bool), *masks])
    return found


def _any(masks: list[Mask], n: int) -> Mask:
    found: Mask = np.logical_or.reduce([np.zeros(n, bool), *masks])
    return found


def _list(name: object, value: Any) -> list[Any]:
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
        raise InputError(f"{name} takes a list, not {value!r}")
    return list(value)


def _check_value(name: str, operator: str, value: Any) -> None:
    if operator == "$exists" and not isinstance(value, bool):
        raise InputError(f"$exists of {name!r} is true or false, not {value!r}")
    for one in _list(f"$in of {name!r}", value) if operator == "$in" else [value]:
        if one is not None and not isinstance(one, (str, bool, int, float, datetime, np.number)):
            raise InputError(f"{name!r} cannot be compared with {one!r}; give a string or number")
        if operator in _ORDER and (one is None or isinstance(one, bool)):
            raise InputError(f"{operator} of {name!r} needs a number, string or time, not {one!r}")


def _numpy(mask: Any) -> Mask:
    """An Arrow mask as numpy; null is no."""
    found: Mask = np.asarray(pc.fill_null(mask, pa.scalar(value=False)), bool)
    return found


def _column_mask(column: pa.Array, operator: str, value: Any) -> Mask:
    if operator == "$exists":
        return _numpy(column.is_valid() if value else column.is_null())
    values = _list(operator, value) if operator == "$in" else [value]
    return _any([_compare(column, operator, one) for one in values], len(column))


def _compare(column: pa.Array, operator: str, value: Any) -> Mask:
    """Rows of a typed column; a value of another type is in none of them."""
    if value is None:
        return _numpy(column.is_null())
    scalar = _scalar(column.type, value)
    if scalar is None:
        return np.zeros(len(column), bool)
    return _numpy(_ORDER.get(operator, pc.equal)(column, scalar))


def _scalar(kind: pa.DataType, value: Any) -> pa.Scalar | None:
    if isinstance(value, datetime):
        return pa.scalar(microseconds(value), TIMESTAMP) if kind == TIMESTAMP else None
    if isinstance(value, str):
        return pa.scalar(value) if pa.types.is_string(kind) else None
    if isinstance(value, bool):
        return pa.scalar(value) if pa.types.is_boolean(kind) else None
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        return _number(value)
    return None


def _number(value: Any) -> pa.Scalar:
    if isinstance(value, (int, np.integer)) and -(2**63) <= int(value) < 2**63:
        return pa.scalar(int(value), pa.int64())
    return pa.scalar(float(value), pa.float64())


def _attribute_mask(attributes: pa.Array, key: str, operator: str, value: Any) -> Mask:
    """Rows that have an attribute of this key which meets the condition."""
    entries = attributes.flatten()
    of_key = pc.equal(entries.field("key"), key)
    rows = attributes.value_parent_indices().filter(of_key).to_numpy()
    entries = entries.filter(of_key)
    mask = np.zeros(len(attributes), bool)
    if operator == "$exists":
        mask[rows] = True
        return mask if value else ~mask
    for one in _list(operator, value) if operator == "$in" else [value]:
        mask[rows[_entries_mask(entries, operator, one)]] = True
    return mask


def _entries_mask(entries: pa.Array, operator: str, value: Any) -> Mask:
    fields = [entries.field(name) for name in ("text", "integer", "number", "flag")]
    if value is None:
        return _every([_numpy(field.is_null()) for field in fields], len(entries))
    if isinstance(value, datetime):
        value = value.isoformat()
    return _any([_compare(field, operator, value) for field in fields], len(entries))

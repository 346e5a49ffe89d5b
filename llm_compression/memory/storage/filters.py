"""Filter: conditions on columns and metadata, evaluated by Arrow.

The language is that of vector databases: ``{"speaker": "ann", "year": {"$gte": 2020}}`` wants both;
``$and``, ``$or`` and ``$not`` combine. A name of a column means the column, ``metadata.<key>`` or
any other name a key of the metadata.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from operator import eq as same
from operator import ge, gt, le, lt
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llm_compression.errors import InputError
from llm_compression.memory.storage.layout import ATTRIBUTES, SOURCES, TIMESTAMP
from llm_compression.memory.storage.rows import is_text, microseconds

Mask = np.ndarray
Condition = Callable[[pa.Table], Mask]
_COLUMNS = {
    "embedding_id",
    "modality",
    "model",
    "fingerprint",
    "dtype",
    "normalized",
    "dimension",
    "timestamp",
    "duration_seconds",
}
_ORDER: dict[str, Callable[..., Any]] = {
    "$gt": pc.greater,
    "$gte": pc.greater_equal,
    "$lt": pc.less,
    "$lte": pc.less_equal,
}
_EXACT = {"$gt": gt, "$gte": ge, "$lt": lt, "$lte": le}  # for what floats do not tell apart
_INT64 = 1 << 63
_VALUES = (str, bool, int, float, datetime)
_OPERATORS = ("$eq", "$ne", *_ORDER, "$in", "$nin", "$exists")


class Filter:
    """A condition that rows meet or not.

    Args:
        given: a mapping as above; an empty one is met by every row.
        modality: of the dataset, whose columns it means.

    Raises:
        InputError: an operator or a value that cannot be.
    """

    def __init__(self, given: Mapping[str, Any], modality: str) -> None:
        self.columns: set[str] = set()
        self._names = _COLUMNS | {SOURCES[modality]}
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
        value = _plain(value)
        _check_value(name, operator, value)
        column = name in self._names
        if not column:
            _refuse_times(name, [one for _, one in _tests(operator, value)])
        self.columns.add(name if column else ATTRIBUTES)
        if column:
            return lambda table: _by_chunk(table[name], _column_mask, operator, value)
        key = name.removeprefix("metadata.")
        return lambda table: _by_chunk(table[ATTRIBUTES], _attribute_mask, key, operator, value)


def equals(name: str, values: Sequence[str]) -> dict[str, Any]:
    """The filter for a column that is one of ``values``."""
    return {name: {"$in": list(values)}}


def _by_chunk(column: pa.ChunkedArray, mask: Callable[..., Mask], *arguments: Any) -> Mask:
    """The mask of a column whose strings may be too many for one array."""
    return np.concatenate([np.empty(0, bool), *(mask(one, *arguments) for one in column.chunks)])


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


def _plain(value: Any) -> Any:
    """The same with numbers of Python in the place of numpy's, which compare otherwise."""
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, np.floating):
        return float(value)
    return value.item() if isinstance(value, (np.integer, np.bool_)) else value


def _tests(operator: str, value: Any) -> list[tuple[str, Any]]:
    """Operators and values of which one must hold."""
    return [("$eq", one) for one in value] if operator == "$in" else [(operator, value)]


def _check_value(name: str, operator: str, value: Any) -> None:
    if operator == "$exists" and not isinstance(value, bool):
        raise InputError(f"$exists of {name!r} is true or false, not {value!r}")
    for one in _list(f"$in of {name!r}", value) if operator == "$in" else [value]:
        if name == "timestamp" and isinstance(one, str):
            raise InputError(f"'timestamp' is compared with {one!r}; give a datetime")
        if one is not None and not isinstance(one, _VALUES):
            raise InputError(f"{name!r} cannot be compared with {one!r}; give a string or number")
        if isinstance(one, str) and not is_text(one):
            raise InputError(f"{name!r} is compared with a lone surrogate, which is no text")
        if operator in _ORDER and (one is None or isinstance(one, bool)):
            raise InputError(f"{operator} of {name!r} needs a number, string or time, not {one!r}")


def _refuse_times(name: str, values: Sequence[Any]) -> None:
    """Metadata holds no times, and texts of different zones do not stand in their order."""
    if any(isinstance(one, datetime) for one in values):
        raise InputError(
            f"{name!r} is metadata, which holds no times; store them as ISO strings of one zone, "
            "and compare with such a string (the column 'timestamp' takes a datetime)"
        )


def _numpy(mask: Any) -> Mask:
    """An Arrow mask as numpy; null is no."""
    found: Mask = np.asarray(pc.fill_null(mask, pa.scalar(value=False)), bool)
    return found


def _column_mask(column: pa.Array, operator: str, value: Any) -> Mask:
    if operator == "$exists":
        return _numpy(column.is_valid() if value else column.is_null())
    tests = _tests(operator, value)
    return _any([_compare(column, test, one) for test, one in tests], len(column))


def _compare(column: pa.Array, operator: str, value: Any) -> Mask:
    """Rows of a typed column; a value of another type is in none of them."""
    if value is None:
        return _numpy(column.is_null())
    scalar = _scalar(column.type, value)
    if scalar is None:
        return np.zeros(len(column), bool)
    if column.type == pa.float64() and isinstance(value, int):
        operator = _beside_rounded(operator, value, scalar.as_py())
        if operator == "$eq" and scalar.as_py() != value:
            return np.zeros(len(column), bool)
    return _numpy(_ORDER.get(operator, pc.equal)(column.cast(scalar.type, safe=False), scalar))


def _beside_rounded(operator: str, value: int, nearest: float) -> str:
    """The operator for the float that is nearest to an integer, in the integer's place."""
    if nearest > value:
        return {"$gt": "$gte", "$lte": "$lt"}.get(operator, operator)
    return {"$gte": "$gt", "$lt": "$lte"}.get(operator, operator) if nearest < value else operator


def _scalar(kind: pa.DataType, value: Any) -> pa.Scalar | None:
    """The value in the type that it is compared in; None where it is of another kind."""
    if isinstance(value, datetime):
        return pa.scalar(microseconds(value), TIMESTAMP) if kind == TIMESTAMP else None
    if isinstance(value, str):
        return pa.scalar(value) if pa.types.is_string(kind) else None
    if isinstance(value, bool):
        return pa.scalar(value) if pa.types.is_boolean(kind) else None
    if pa.types.is_floating(kind):  # a duration is float32, as is then 0.1 beside it
        nearest = np.float32 if kind == pa.float32() else np.float64
        with np.errstate(over="ignore"):
            return pa.scalar(float(nearest(_float(value))), kind)
    return _beside_integers(value) if pa.types.is_integer(kind) else None


def _beside_integers(value: Any) -> pa.Scalar:
    """An integer where it can be one, as float64 does not tell large ones apart."""
    whole = isinstance(value, int) or value.is_integer()
    if whole and -_INT64 <= int(value) < _INT64:
        return pa.scalar(int(value), pa.int64())
    number = _float(value)
    beyond = math.copysign(math.inf, number) if abs(number) >= _INT64 else number
    return pa.scalar(beyond, pa.float64())


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer beyond 1e308
        return math.inf if value > 0 else -math.inf


def _attribute_mask(attributes: pa.Array, key: str, operator: str, value: Any) -> Mask:
    """Rows that have an attribute of this key which meets the condition."""
    entries = attributes.flatten()
    of_key = pc.equal(entries.field("key"), key)
    if operator == "$exists":  # an object is there where anything in it is
        of_key = pc.or_(of_key, pc.starts_with(entries.field("key"), f"{key}."))
    rows = attributes.value_parent_indices().filter(of_key).to_numpy()
    entries = entries.filter(of_key)
    mask = np.zeros(len(attributes), bool)
    if operator == "$exists":
        mask[rows] = True
        return mask if value else ~mask
    for test, one in _tests(operator, value):
        mask[rows[_entries_mask(entries, test, one)]] = True
    return mask


def _entries_mask(entries: pa.Array, operator: str, value: Any) -> Mask:
    text, number = entries.field("text"), entries.field("number")
    fields = (text, number, entries.field("integer"), entries.field("flag"))
    if value is None:
        return _every([_numpy(field.is_null()) for field in fields], len(entries))
    met = [_compare(field, operator, value) for field in fields]
    huge = _numpy(number.is_valid()) & _numpy(text.is_valid())  # integers beyond 64 bits
    if isinstance(value, str):
        met[0] &= ~huge
    elif not isinstance(value, bool):
        for i in np.flatnonzero(huge & _numpy(pc.equal(number, _float(value)))):
            met[1][i] = _EXACT.get(operator, same)(int(text[i].as_py()), value)
    return _any(met, len(entries))

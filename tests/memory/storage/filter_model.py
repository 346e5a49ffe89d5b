"""What filters mean, as plain Python over one row; and rows and filters at random."""

import operator
from datetime import datetime, timezone
from typing import Any

import numpy as np
from hypothesis import strategies as st

KEYS = ("a", "b", "c", "c.d", "e")
COLUMNS = ("embedding_id", "text_id", "model", "timestamp", "duration_seconds", "dimension")
TIMES = [datetime(year, 1, 1, tzinfo=timezone.utc) for year in (1, 1969, 2020, 9999)]
BIG = 2**60 + 1
ORDER = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le}

numbers = st.sampled_from(
    [0, 1, -1, 2, BIG, BIG + 1, 2**53, 2**53 + 1, 2**63, 2**63 + 1, -(2**63), -(2**64) - 1]
)
floats = st.sampled_from([0.0, 1.0, -0.5, 1.5, 0.1, 2.0**53, 2.0**63, 1e300, -1e300])
texts = st.sampled_from(["", "x", "y", "1", "é\0", "\U0001f600"])
scalars = st.one_of(st.none(), st.booleans(), numbers, floats, texts)
values = st.one_of(scalars, st.lists(scalars, max_size=3))
metadata = st.fixed_dictionaries(
    {}, optional={"a": values, "b": values, "c": st.fixed_dictionaries({}, optional={"d": values})}
)
rows = st.lists(
    st.fixed_dictionaries(
        {
            "metadata": metadata,
            "text_id": texts,
            "timestamp": st.sampled_from(TIMES),
            "duration_seconds": st.one_of(st.none(), st.sampled_from([0.0, 0.1, 2.0])),
        }
    ),
    min_size=1,
    max_size=8,
)


def conditions(name: str) -> st.SearchStrategy[Any]:
    """What may stand beside a name."""
    value = st.sampled_from(TIMES) if name == "timestamp" else scalars
    ordered = value.filter(lambda one: one is not None and not isinstance(one, bool))
    tests = {
        **dict.fromkeys(ORDER, ordered),
        **dict.fromkeys(("$eq", "$ne"), value),
        **dict.fromkeys(("$in", "$nin"), st.lists(value, max_size=3)),
        "$exists": st.booleans(),
    }
    several = st.fixed_dictionaries({}, optional=tests).filter(bool)
    return st.one_of(value, several)


_one = st.sampled_from((*KEYS, *COLUMNS)).flatmap(
    lambda name: st.fixed_dictionaries({name: conditions(name)})
)
filters = st.recursive(
    _one,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"$and": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"$or": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"$not": inner}),
        st.tuples(inner, inner).map(lambda pair: {**pair[0], **pair[1]}),
    ),
    max_leaves=5,
)


def meets(row: dict[str, Any], given: dict[str, Any]) -> bool:
    return all(_holds(row, name, wanted) for name, wanted in given.items())


def _holds(row: dict[str, Any], name: str, wanted: Any) -> bool:
    if name == "$and":
        return all(meets(row, part) for part in wanted)
    if name == "$or":
        return any(meets(row, part) for part in wanted)
    if name == "$not":
        return not meets(row, wanted)
    found = [row[name]] if name in COLUMNS else _values(row["metadata"], name)
    tests = wanted if isinstance(wanted, dict) else {"$eq": wanted}
    return all(_test(found, name, *test) for test in tests.items())


def _values(metadata: dict[str, Any], name: str) -> list[Any]:
    found: Any = metadata
    for key in name.split("."):
        if not isinstance(found, dict) or key not in found:
            return MISSING
        found = found[key]
    return found if isinstance(found, list) else [found]


MISSING: list[Any] = []


def _test(found: list[Any], name: str, test: str, value: Any) -> bool:
    if test == "$ne":
        return not _test(found, name, "$eq", value)
    if test == "$nin":
        return not _test(found, name, "$in", value)
    if test == "$exists":  # an empty column is none, an empty value in the metadata is one
        return (found is not MISSING and (name not in COLUMNS or found != [None])) == value
    wanted = value if test == "$in" else [value]
    compare = ORDER.get(test, operator.eq)
    return any(
        _alike(one, other) and compare(one, _rounded(name, other))
        for one in found
        for other in wanted
    )


def _alike(one: Any, other: Any) -> bool:
    """Truth values are no numbers, and numbers no strings."""
    return _kind(one) == _kind(other)


def _kind(value: Any) -> type:
    return float if type(value) is int else type(value)


def _rounded(name: str, value: Any) -> Any:
    if name == "duration_seconds" and isinstance(value, float) and abs(value) < 1e30:
        return float(np.float32(value))
    return value

"""Frozen dataclasses to JSON and back; an unknown or missing key is an error."""

import functools
import hashlib
import json
import math
import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, Field, field, fields, is_dataclass
from enum import Enum
from typing import Any, TypeVar, Union

from llm_compression.errors import SpecError

T = TypeVar("T")
Decoder = Callable[[Any], Any]
_LATER = "later"


def later(default: T) -> T:
    """A dataclass field that version 1 of the format gained after its first release.

    It is left out of JSON while it has its default, so that a model from before keeps its
    fingerprint.
    """
    return field(default=default, metadata={_LATER: True})


def dumps(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces, so that equal values give equal bytes.

    Raises:
        SpecError: a text holds a lone surrogate, which UTF-8 cannot write.
    """
    text = json.dumps(
        value, default=_step, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        near = text[max(0, error.start - 40) : error.end]
        raise SpecError(f"a lone surrogate, which is no text, ends {near!r}") from None
    return text


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, 64 hex digits."""
    return hashlib.sha256(dumps(value).encode()).hexdigest()


def loads(kind: type[T], text: str, where: str) -> T:
    """The ``kind`` that ``text`` describes; ``where`` names the text in errors.

    Raises:
        SpecError: not JSON, an unknown or missing key, or a value of the wrong type.
    """
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{where} is not valid JSON: {error}") from error
    return typing.cast(T, _at(where, decoder(typing.cast(Any, kind)), plain))


def to_plain(value: Any) -> Any:
    """Dataclasses, enums and tuples as dicts, values and lists; `later` defaults are left out."""
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, Enum) or (is_dataclass(value) and not isinstance(value, type)):
        return to_plain(_step(value))
    return value


def _step(value: Any) -> Any:
    """One step towards JSON of what is neither: a dataclass as a dict, an enum as its value."""
    if isinstance(value, Enum):
        return value.value
    if not is_dataclass(value) or isinstance(value, type):
        raise TypeError(f"{type(value).__name__} has no form in JSON")
    return {
        f.name: getattr(value, f.name)
        for f in fields(value)
        if not _is_left_out(f, getattr(value, f.name))
    }


def _is_left_out(f: Field[Any], value: object) -> bool:
    return _LATER in f.metadata and value == f.default


@functools.cache
def decoder(kind: Any) -> Decoder:
    """The checked inverse of `to_plain` for an annotated type, built once."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _optional(next(arg for arg in args if arg is not types.NoneType))
    if origin is tuple:
        return _tuple(args[0])
    if origin is dict:
        return _dict(args[1])
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass(typing.cast(type, kind))
    if issubclass(kind, Enum):
        return _enum(kind)
    return _number if kind is float else _exact(kind)


def _at(step: str, decode: Decoder, plain: Any) -> Any:
    """Decode one part; an error gains the step that led to it."""
    try:
        return decode(plain)
    except SpecError as error:
        raise SpecError(f"{step}{'' if str(error)[0] in '.[' else ' '}{error}") from None


def _optional(kind: Any) -> Decoder:
    inner = decoder(kind)
    return lambda plain: None if plain is None else inner(plain)


def _exact(kind: type) -> Decoder:
    def decode(plain: Any) -> Any:
        if type(plain) is not kind:
            raise SpecError(f"is {plain!r}, expected {kind.__name__}")
        return plain

    return decode


def _number(plain: Any) -> float:
    if type(plain) not in (int, float):
        raise SpecError(f"is {plain!r}, expected a number")
    try:
        value = float(plain)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):  # json.loads takes NaN and Infinity, which are not JSON
        raise SpecError(f"is {plain!r}, expected a finite number")
    return value


def _enum(kind: type[Enum]) -> Decoder:
    members = {member.value: member for member in kind}

    def decode(plain: Any) -> Enum:
        if not isinstance(plain, str) or plain not in members:
            raise SpecError(f"is {plain!r}, expected one of {sorted(members)}")
        return members[plain]

    return decode


def _tuple(kind: Any) -> Decoder:
    inner = decoder(kind)

    def decode(plain: Any) -> tuple[Any, ...]:
        if not isinstance(plain, list):
            raise SpecError(f"is {plain!r}, expected a list")
        try:
            return tuple(map(inner, plain))
        except SpecError:  # decode again, slowly, to say which item is wrong
            return tuple(_at(f"[{i}]", inner, item) for i, item in enumerate(plain))

    return decode


def _dict(kind: Any) -> Decoder:
    inner = decoder(kind)

    def decode(plain: Any) -> dict[str, Any]:
        if not isinstance(plain, dict):
            raise SpecError(f"is {plain!r}, expected an object")
        return {key: _at(f".{key}", inner, item) for key, item in plain.items()}

    return decode


def _dataclass(kind: type) -> Decoder:
    hints = typing.get_type_hints(kind)
    decoders = {f.name: decoder(hints[f.name]) for f in fields(kind)}
    required = {f.name for f in fields(kind) if _is_required(f)}

    def decode(plain: Any) -> Any:
        if not isinstance(plain, dict):
            raise SpecError(f"is {plain!r}, expected an object")
        if not required <= plain.keys() <= decoders.keys():
            _refuse("unknown", plain.keys() - decoders.keys())
            _refuse("missing", required - plain.keys())
        try:
            values = {name: decoders[name](x) for name, x in plain.items()}
        except SpecError:  # decode again, slowly, to say which field is wrong
            values = {name: _at(f".{name}", decoders[name], x) for name, x in plain.items()}
        return kind(**values)

    return decode


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _refuse(what: str, keys: set[str]) -> None:
    if keys:
        raise SpecError(f"has {what} keys {sorted(keys)}; a newer release may know them")

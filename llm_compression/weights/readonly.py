"""ReadOnlyTensor: a torch view of memory that must not change; torch itself knows no such thing."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import Any

import numpy as np
import torch

_IN_PLACE = re.compile(
    r"(?!__).*[^_]_"  # add_, copy_, _foreach_add_
    r"|__i(add|sub|mul|matmul|truediv|floordiv|div|mod|pow|and|or|xor|lshift|rshift)__"
    r"|__setitem__|__set__|__delitem__"
)


class ReadOnlyTensor(torch.Tensor):
    """Any operation that would write to it, or to a view of it, raises ``RuntimeError`` first.

    A view or numpy array that shares its memory is read-only too; any other result is an
    ordinary tensor. ``tensor.clone()`` gives a copy to write to. What goes around torch's
    operations and numpy is not seen here: dlpack, raw storage, casting the class away, vmap,
    ``torch.from_numpy`` of its array, running statistics of a norm, ``max_norm`` of an embedding.
    The memory is private to the process in any case.
    """

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Refuse writes, run everything else as on an ordinary tensor."""
        kwargs = kwargs or {}
        if any(isinstance(tensor, cls) for tensor in _flatten(_written(func, args, kwargs))):
            raise RuntimeError(
                f"{func.__name__} would write to a weight, whose memory is shared and read-only; "
                "use tensor.clone()"
            )
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
            memory = {_memory(t) for t in _flatten([args, kwargs]) if isinstance(t, cls)}
            return _protect(result, memory)

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        """An ordinary tensor with memory of its own."""
        return self.clone()


def read_only(tensor: torch.Tensor) -> ReadOnlyTensor:
    """``tensor`` as a read-only view of the same memory."""
    return tensor.as_subclass(ReadOnlyTensor)


def writable(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory as an ordinary tensor, for code that is known never to write to it."""
    with torch._C.DisableTorchFunctionSubclass():
        return tensor.as_subclass(torch.Tensor)


def _written(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> list[Any]:
    """The arguments that ``func`` writes to."""
    first = [*args, *kwargs.values()][:1]
    name = getattr(func, "__name__", "").partition(".")[0]  # an overload is zero_.default
    in_place = _IN_PLACE.fullmatch(name) or _asked(func, args, kwargs)
    return [kwargs.get("out"), *(first if in_place else [])]


def _asked(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a Python function such as ``F.relu`` is called with ``inplace=True``."""
    if not isinstance(func, FunctionType) or "inplace" not in func.__code__.co_varnames:
        return False
    return bool(inspect.signature(func).bind(*args, **kwargs).arguments.get("inplace"))


def _protect(result: Any, memory: set[int]) -> Any:
    if isinstance(result, torch.Tensor):
        kind = ReadOnlyTensor if _memory(result) in memory else torch.Tensor
        return result if type(result) is kind else result.as_subclass(kind)
    if isinstance(result, np.ndarray):
        result.flags.writeable = False
        return result
    if type(result) in (tuple, list):
        return type(result)(_protect(item, memory) for item in result)
    return result


def _memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _flatten(values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        if isinstance(value, (tuple, list)):
            yield from _flatten(value)
        elif isinstance(value, Mapping):
            yield from _flatten(value.values())
        else:
            yield value

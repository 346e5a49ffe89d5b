"""What the package offers by name is there and documented."""

import inspect

import pytest

import llm_compression

NAMES = sorted(set(llm_compression.__all__) - {"__version__"})


@pytest.mark.parametrize("name", NAMES)
def test_public_name_loads_and_is_documented(name: str) -> None:
    assert (getattr(llm_compression, name).__doc__ or "").strip()


@pytest.mark.parametrize("name", NAMES)
def test_public_methods_are_documented(name: str) -> None:
    value = getattr(llm_compression, name)
    members = inspect.getmembers(value, callable) if inspect.isclass(value) else []
    assert [key for key, member in members if key[0] != "_" and not member.__doc__] == []


def test_names_are_those_that_dir_lists() -> None:
    assert set(dir(llm_compression)) == set(llm_compression.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Engine'"):
        _ = llm_compression.Engine

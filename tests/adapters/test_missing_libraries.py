"""An adapter without its library says which extra brings it."""

import sys
from importlib import import_module

import pytest

from llm_compression.errors import MissingDependencyError
from tests.architecture.test_release import ADAPTERS, EXTRAS, split


@pytest.mark.parametrize("extra", sorted(ADAPTERS))
def test_missing_library_is_named_with_its_extra(
    extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"llm_compression.adapters.{extra.replace('-', '_')}"
    monkeypatch.delitem(sys.modules, module, raising=False)
    for library in ("langchain_core", "lancedb", "llama_index", "mem0", "mteb"):
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingDependencyError) as raised:
        import_module(module)
    (required,) = EXTRAS[extra]
    assert str(raised.value) == (
        f"this adapter needs {split(required)[0]}; pip install 'llm-compression[{extra}]'"
    )

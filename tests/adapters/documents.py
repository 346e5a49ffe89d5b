"""The examples of docs/adapters.md, run as a user would paste them."""

import re
from typing import Any

from tests.conftest import ROOT

BLOCK = re.compile(r"^## (.+?)\n.*?^```python\n(.*?)^```", re.M | re.S)


def example(heading: str) -> str:
    """The first block of code under a heading."""
    return dict(BLOCK.findall((ROOT / "docs/adapters.md").read_text()))[heading]


def run_example(heading: str) -> dict[str, Any]:
    """Run it, and give the names that it leaves."""
    names: dict[str, Any] = {}
    exec(compile(example(heading), f"docs/adapters.md, {heading}", "exec"), names)
    return names

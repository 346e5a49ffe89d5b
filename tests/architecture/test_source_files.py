"""House rules that hold for every source file."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "llm_compression"
FILES = sorted(
    path
    for folder in (PACKAGE, *(ROOT / name for name in ("scripts", "benchmarks", "examples")))
    for path in folder.rglob("*.py")
)
REFERENCES = {"transformers", "sentence_transformers"}  # optional, and for comparison alone
SENTENCE = re.compile(r'"""[`\w].*\.(""")?')
HOME_OF_REFERENCES = PACKAGE / "validation"


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def imported(path: Path) -> set[str]:
    """The top-level names of what ``path`` imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(text(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def test_files_are_short() -> None:
    lengths = {name(path): len(text(path).splitlines()) for path in FILES}
    assert {file: length for file, length in lengths.items() if length > 300} == {}


def test_first_line_says_what_the_file_holds() -> None:
    first_lines = {name(path): text(path).partition("\n")[0] for path in FILES}
    assert {file: line for file, line in first_lines.items() if not SENTENCE.fullmatch(line)} == {}


def test_references_are_imported_by_validation_alone() -> None:
    users = {path.parent for path in PACKAGE.rglob("*.py") if imported(path) & REFERENCES}
    assert users == {HOME_OF_REFERENCES}

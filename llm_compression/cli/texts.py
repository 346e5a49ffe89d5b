"""Texts from arguments, a file or standard input."""

import sys
from pathlib import Path

from llm_compression.errors import InputError


def gather(arguments: list[str], file: str | None) -> list[str]:
    """The texts: those given, else the lines of ``file`` (``-`` is stdin), else of stdin.

    Raises:
        InputError: texts and a file, neither of them on a terminal, or a file that is no text.
    """
    if arguments and file:
        raise InputError("give texts or --file, not both")
    if arguments:
        return arguments
    if file and file != "-":
        return read_lines(Path(file))
    if sys.stdin is None or sys.stdin.isatty():
        raise InputError("no texts; give some, or --file FILE, or pipe lines into the command")
    return _lines(sys.stdin.buffer.read(), "standard input")


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file that are not blank.

    Raises:
        InputError: no such file, or not UTF-8.
    """
    try:
        return _lines(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _lines(content: bytes, where: str) -> list[str]:
    try:
        lines = content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where} is not UTF-8 at byte {error.start}; convert it, for example with iconv"
        ) from None
    return [line.rstrip("\r") for line in lines if line.strip()]


def one_line(text: str, width: int | None = None, *, keep_end: bool = False) -> str:
    """``text`` for a table: runs of space as one, controls as dots, cut to ``width``."""
    line = "".join(c if c.isprintable() else "." for c in " ".join(text.split()))
    if width is None or len(line) <= width:
        return line
    return f"...{line[3 - width :]}" if keep_end else f"{line[: width - 3]}..."

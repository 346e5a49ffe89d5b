"""The ``llm-compression`` command: one parser for all subcommands, and how errors are shown."""

import argparse
import io
import os
import sys
import warnings
from importlib import import_module
from typing import Any

from llm_compression.errors import InputError, LLMCompressionError
from llm_compression.version import __version__

COMMANDS = (
    "convert", "inspect", "verify", "validate", "map", "embed", "search", "classify", "export",
)  # fmt: skip
_EXAMPLES = """\
examples:
  llm-compression convert sentence-transformers/all-MiniLM-L6-v2 minilm.parquet
  llm-compression embed minilm.parquet "A cat sits on the mat."
  llm-compression embed minilm.parquet --file texts.txt --output vectors.parquet
  llm-compression search minilm.parquet "animals at rest" --in vectors.parquet
  llm-compression search clip.parquet "a dog in the snow" --images photos --sheet found.html
  llm-compression search whisper.parquet clip.wav --audio recordings
  llm-compression classify clip.parquet photo.jpg --labels cat dog bird

Exit status is 0 on success, 1 on a failure and 2 on bad usage.
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit status: 0, 1 for a failure, 2 for bad usage."""
    for name in ("stdout", "stderr"):  # closed by the shell's >&-
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  stays open
    if isinstance(sys.stdout, io.TextIOWrapper):  # a text may hold letters that a terminal lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()  # what fails here must not fail at exit, beyond any handler
        return status
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        _discard_output()
        return 0
    except OSError as error:
        _discard_output()
        where = error.filename or "the output"
        return _fail(f"cannot use {where}: {error.strerror or error}", 1)


def _run(argv: list[str]) -> int:
    try:
        arguments = _parse(argv)
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning  # one line each; nobody reads a source line here
            return int(arguments.run(arguments))
    except SystemExit as stop:  # argparse has said why
        return stop.code if isinstance(stop.code, int) else 1
    except InputError as error:
        return _fail(error, 2)
    except LLMCompressionError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)


def _discard_output() -> None:
    """Let what is still in the buffer go nowhere when the interpreter exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse(argv: list[str]) -> argparse.Namespace:
    if argv and argv[0] in COMMANDS:
        # The command's own parser, as only that lets options stand between positionals.
        parser = argparse.ArgumentParser(prog=f"llm-compression {argv[0]}")
        _declare(parser, argv[0])
        return parser.parse_intermixed_args(argv[1:])
    parser = argparse.ArgumentParser(
        prog="llm-compression",
        description="Turn a Hugging Face checkpoint into one Parquet file, and embed from it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        commands.add_parser(name, help=_summary(name))
    return parser.parse_args(argv)


def _declare(parser: argparse.ArgumentParser, name: str) -> None:
    module = _module(name)
    summary = _summary(name)
    parser.description = f"{summary[0].upper()}{summary[1:]}."
    module.add_arguments(parser)
    parser.set_defaults(run=module.run, usage_error=parser.error)


def _summary(name: str) -> str:
    first = str(_module(name).__doc__).splitlines()[0]
    return first.partition(": ")[2].rstrip(".")


def _module(name: str) -> Any:
    return import_module(f"llm_compression.cli.{name}")


def _fail(error: object, status: int) -> int:
    print(f"llm-compression: error: {error}", file=sys.stderr)
    return status


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"llm-compression: warning: {message}", file=sys.stderr)

"""The ``llm-compression`` command: one parser for all subcommands, and how errors are shown."""

import argparse
import os
import sys
import warnings
from importlib import import_module

from llm_compression import __version__
from llm_compression.errors import InputError, LLMCompressionError

COMMANDS = ("convert", "inspect", "verify", "validate", "map", "embed", "search", "export")
_EXAMPLES = """\
examples:
  llm-compression convert sentence-transformers/all-MiniLM-L6-v2 minilm.parquet
  llm-compression embed minilm.parquet "A cat sits on the mat."
  llm-compression embed minilm.parquet --file texts.txt --output vectors.parquet
  llm-compression search minilm.parquet "animals at rest" --in vectors.parquet

Exit status is 0 on success, 1 on a failure and 2 on bad usage.
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit status: 0, 1 for a failure, 2 for bad usage."""
    arguments = _parser().parse_args(argv)
    warnings.showwarning = _show_warning  # one line each; nobody reads a source line here
    try:
        return int(arguments.run(arguments))
    except InputError as error:
        return _fail(error, 2)
    except (LLMCompressionError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # the reader, `head` say, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return _fail(error, 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llm-compression",
        description="Turn a Hugging Face checkpoint into one Parquet file, and embed from it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = import_module(f"llm_compression.cli.{name}")
        summary = (module.__doc__ or "").split(": ", 1)[1].splitlines()[0]
        command = commands.add_parser(name, help=summary, description=summary)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def _fail(error: object, status: int) -> int:
    print(f"llm-compression: error: {error}", file=sys.stderr)
    return status


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"llm-compression: warning: {message}", file=sys.stderr)

"""Outputs that must not take the place of inputs."""

from pathlib import Path

from llm_compression.errors import InputError


def keep_inputs(output: str | None, *inputs: str | Path | None) -> None:
    """Refuse to write over what is read.

    Raises:
        InputError: ``output`` is one of the ``inputs``, by whatever name.
    """
    if output in (None, "-") or not Path(str(output)).is_file():
        return
    target = Path(str(output))
    for source in inputs:
        if source and Path(source).is_file() and target.samefile(source):
            raise InputError(f"{output} is read by this command; write to another file")

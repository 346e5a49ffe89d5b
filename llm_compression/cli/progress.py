"""A progress bar for conversion, on terminals only."""

import sys

from llm_compression.conversion.convert import Progress


def show_progress() -> Progress | None:
    """A callback that draws one bar a step on stderr; None where no terminal would see it."""
    if not sys.stderr.isatty():
        return None
    from tqdm.auto import tqdm  # comes with huggingface-hub

    bars: dict[str, tqdm] = {}

    def update(step: str, done: int, total: int) -> None:
        bar = bars.setdefault(step, tqdm(total=total, desc=step, unit="tensor"))
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return update

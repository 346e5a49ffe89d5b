"""Shows in a minute what llm_compression does with the real all-MiniLM-L6-v2.

    python scripts/demo.py

Converts the checkpoint that scripts/fetch_minilm.py fetched, answers searches over a dozen
sentences, and measures the original's usual runtimes beside it. Every figure printed is of this
run. Each runtime is measured in fresh processes, so that its own imports count.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

MODELS = Path(__file__).parents[1] / "models"
CHECKPOINT = MODELS / "all-MiniLM-L6-v2"
TABLE = MODELS / "all-MiniLM-L6-v2.parquet"
RUNS = 2  # processes per runtime, taking turns; the best counts
REPEATS = 10  # embeddings of the dozen in each; the best counts
SENTENCES = [
    "The bakery on the corner sells out of sourdough before nine.",
    "To reset a forgotten password, follow the link on the sign-in page.",
    "Parquet keeps each column of a table together and compresses it well.",
    "The central bank raised interest rates by a quarter of a point.",
    "Our cat sleeps on the keyboard whenever I have a deadline.",
    "A marathon is 42.195 kilometres long.",
    "Add the garlic only when the onions are soft, or it will burn.",
    "The James Webb telescope sees galaxies as they were 13 billion years ago.",
    "Restart the router if the connection drops again.",
    "She practised the violin sonata until her fingers ached.",
    "Heavy rain closed the mountain pass on Tuesday.",
    "Vaccines teach the immune system to recognise a virus.",
]
QUERIES = ["I cannot log in to my account", "looking back into the early universe", "cooking tips"]
SHOWN = 3  # hits per query


@dataclass(frozen=True)
class Timing:
    """Seconds that one process took."""

    start: float  # imports, opening the model, and the first sentence
    dozen: float  # the dozen sentences at once, warm

    @classmethod
    def best(cls, runs: "list[Timing]") -> "Timing":
        """The lowest of each figure."""
        return cls(min(run.start for run in runs), min(run.dozen for run in runs))


Encode = Callable[[list[str]], "np.ndarray"]


def open_ours() -> Encode:
    """The weight table in this project's engine."""
    from llm_compression import ArrowEngine

    return ArrowEngine(TABLE).encode


def open_sentence_transformers() -> Encode:
    """The checkpoint in sentence-transformers."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(CHECKPOINT), device="cpu")
    return lambda texts: model.encode(texts, show_progress_bar=False)


def open_transformers() -> Encode:
    """The checkpoint in transformers, pooled and normalised by hand as its model card says."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
    model = AutoModel.from_pretrained(CHECKPOINT).eval()

    @torch.inference_mode()
    def encode(texts: list[str]) -> Any:
        tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        mask = tokens["attention_mask"].unsqueeze(-1)  # (B, T, 1)
        hidden = model(**tokens).last_hidden_state  # (B, T, D)
        pooled = (hidden * mask).sum(1) / mask.sum(1)  # (B, D)
        return torch.nn.functional.normalize(pooled).numpy()

    return encode


RUNTIMES: dict[str, Callable[[], Encode]] = {
    "llm-compression": open_ours,
    "transformers": open_transformers,
    "sentence-transformers": open_sentence_transformers,
}


def measure(runtime: str, embeddings: Path) -> Timing:
    """Time ``runtime`` in this process and save its embeddings of the dozen."""
    started = time.perf_counter()
    encode = RUNTIMES[runtime]()
    encode(SENTENCES[:1])
    ready = time.perf_counter() - started
    import numpy as np

    dozen, result = min((_timed(encode) for _ in range(REPEATS)), key=lambda timed: timed[0])
    np.save(embeddings, result)
    return Timing(ready, dozen)


def _timed(encode: Encode) -> "tuple[float, np.ndarray]":
    started = time.perf_counter()
    result = encode(SENTENCES)
    return time.perf_counter() - started, result


def in_fresh_process(runtime: str, embeddings: Path) -> Timing:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--measure", runtime, str(embeddings)]
    quiet = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: {runtime} failed:\n{done.stderr}")
    return Timing(**json.loads(done.stdout.splitlines()[-1]))


def show_conversion() -> None:
    """Convert the checkpoint and print both sizes."""
    from llm_compression import convert

    started = time.perf_counter()
    report = convert(CHECKPOINT, TABLE)
    seconds = time.perf_counter() - started
    print(f"{report.tensors} tensors, {report.parameters:,} parameters, stored without loss\n")
    print(f"  {'model.safetensors':<26}{report.source_bytes:>12,} bytes  weights alone")
    print(
        f"  {TABLE.name:<26}{report.stored_bytes:>12,} bytes  weights, tokenizer and settings:"
        f" {report.stored_bytes / report.source_bytes:.1%} of that"
    )
    print(f"\n  converted, reopened and compared bit for bit in {seconds:.1f} s")


def show_searches() -> None:
    """Embed the dozen sentences and print the best of them for each query."""
    from llm_compression import ArrowEngine

    engine = ArrowEngine(TABLE)
    scores = engine.similarity(engine.encode_query(QUERIES), engine.encode_document(SENTENCES))
    for query, row in zip(QUERIES, scores, strict=True):
        print(f'\n  "{query}"')
        for rank, i in enumerate((-row).argsort()[:SHOWN], start=1):
            print(f"    {rank}  {row[i]:6.3f}  {SENTENCES[i]}")


def show_runtimes() -> None:
    """Measure every runtime that is installed and print a table of them."""
    names = [name for name in RUNTIMES if _version(name)]
    runs: dict[str, list[Timing]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        results = {name: Path(folder) / f"{name}.npy" for name in names}
        for name in names * RUNS:
            runs[name].append(in_fresh_process(name, results[name]))
        differences = _differences(results)
    print(f"\n  {'':<30}{'start':>9}{'dozen':>11}   largest difference")
    for name in names:
        best = Timing.best(runs[name])
        print(
            f"  {f'{name} {_version(name)}':<30}{best.start:>7.2f} s{best.dozen * 1e3:>8.1f} ms"
            f"   {differences[name]}"
        )
    print(
        f"\n  start: imports, opening the model, first sentence. dozen: {len(SENTENCES)} sentences"
        f" at once, warm.\n  Best of {RUNS} processes each; embeddings compared with the last row;"
        " llm-compression opens\n  the memory-mapped copy that part 2 made."
    )


def _differences(results: dict[str, Path]) -> dict[str, str]:
    import numpy as np

    arrays = {name: np.load(path) for name, path in results.items()}
    reference = list(arrays)[-1]
    return {
        name: _difference(float(np.abs(array - arrays[reference]).max()))
        for name, array in arrays.items()
        if name != reference
    } | {reference: "-"}


def _difference(value: float) -> str:
    return f"{value:.1e}" if value else "none, to the bit"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def main(arguments: list[str] | None = None) -> int:
    """Run the demo, or one measurement of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--measure", nargs=2, metavar=("RUNTIME", "FILE"), help=argparse.SUPPRESS)
    measured = parser.parse_args(arguments).measure
    if measured:
        print(json.dumps(asdict(measure(measured[0], Path(measured[1])))))
        return 0
    if not CHECKPOINT.is_dir():
        print(f"error: nothing at {CHECKPOINT}; run `make minilm`", file=sys.stderr)
        return 1
    print("\n1. One checkpoint becomes one Parquet file\n")
    show_conversion()
    print(f"\n2. Search by meaning over {len(SENTENCES)} sentences")
    show_searches()
    print("\n3. The same model in the runtimes people use (this takes half a minute)", flush=True)
    show_runtimes()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m benchmarks.runtimes.profile`: where the milliseconds of each workload are.

Workloads run on one core, where no operator waits for another core and batches come one after
another; operators and the stages of the compiled core are grouped by what they are for, and beside
them stands the floor on that core.
Opening a model, which is more than operators, is taken apart by its steps on all cores.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.claims import Cell
from benchmarks.measure import timed
from benchmarks.recording import recording
from benchmarks.results import FOLDER, Section, to_json, write
from benchmarks.runtimes import floor, ours
from benchmarks.runtimes.contests import KINDS
from benchmarks.runtimes.prepare import prepare
from benchmarks.runtimes.works import MINILM, OPENING, SENTENCE, WORKS, Run, Work, inputs
from benchmarks.tables import sections_markdown
from llm_compression import ArrowEngine, WeightLoader
from llm_compression.multimodal.text.model import text_parts
from llm_compression.multimodal.text.tokenizer import TextTokenizer
from llm_compression.native.library import library
from llm_compression.weights.schema import FileRole

STANDARD = FOLDER / "profile.json"
ALL, REST, OUTSIDE, FLOOR = "all", "other operators", "outside operators", "floor"
PARTS: Mapping[str, frozenset[str]] = {  # to the names of torch's operators
    "linear maps": frozenset(
        {
            "mkldnn::_linear_pointwise",
            "onednn::qlinear_pointwise",
            "aten::addmm",
            "aten::mm",
            "aten::mkldnn_convolution",
        }
    ),
    "attention": frozenset(
        {"aten::_scaled_dot_product_flash_attention_for_cpu", "aten::bmm", "aten::_softmax"}
    ),
    "norms": frozenset({"aten::native_layer_norm"}),
}
_COLUMNS = (ALL, *PARTS, REST, OUTSIDE, FLOOR)
_ROUNDS = 5
_NOTE = (
    "On one core, in {kind}. What a product ends with stands with it: its activation or a residual "
    "sum; so does the softmax with the products of attention. Outside operators are Python and, of "
    "captions, the tokenizer."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile every workload, and store one results file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtimes.profile")
    parser.add_argument("--output", type=Path, default=STANDARD, help="results file")
    output: Path = parser.parse_args(arguments).output
    with (
        recording(("torch",)) as record,
        tempfile.TemporaryDirectory(prefix="profile-") as name,
    ):
        folder, works = Path(name), [work for work in WORKS.values() if work is not OPENING]
        what = prepare(folder, works, quick=True, exported=False)
        sections = [to_json(section) for section in _sections(folder, works)]
    model = ", ".join(sorted({what[work.model] for work in works}))
    run = {"model": model, "quick": False, "only": None}
    run["minutes"] = record.minutes
    print(sections_markdown(write(output, record.machine, run, sections)))
    return 0


def _sections(folder: Path, works: Sequence[Work]) -> Iterator[Section]:
    yield _opening(folder / f"{MINILM}.parquet")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for kind in KINDS:
            samples: dict[Cell, list[float]] = {}
            for work in works:
                samples |= _taken_apart(work, kind, folder)
                print(f"{work.name}, {kind}: profiled", file=sys.stderr, flush=True)
            title, units = f"Where the milliseconds are in {kind}", dict.fromkeys(_COLUMNS, "ms")
            yield Section(f"profile {kind}", title, _NOTE.format(kind=kind), units, samples)
    finally:
        torch.set_num_threads(before)


def _taken_apart(work: Work, kind: str, folder: Path) -> dict[Cell, list[float]]:
    run, given = ours.open_model(work, kind, folder), inputs(work, folder)
    products = floor.open_model(work, kind, folder)
    run(given)
    products(given)
    samples: dict[Cell, list[float]] = {(work.name, column): [] for column in _COLUMNS}
    for _ in range(_ROUNDS):
        whole = 1e3 * timed(partial(run, given))
        parts = operators(run, given)
        found = {ALL: whole, **parts, OUTSIDE: max(0.0, whole - sum(parts.values()))}
        found[FLOOR] = 1e3 * timed(partial(products, given))
        for column, value in found.items():
            samples[work.name, column].append(value)
    return samples


def operators(run: Run, given: Any) -> dict[str, float]:
    """Milliseconds of one run in each of `PARTS` and in the other operators of this thread."""
    native = library()
    with (
        native.measured() if native else nullcontext(dict[str, float]()) as compiled,
        profile(activities=[ProfilerActivity.CPU]) as taken,
    ):
        run(given)
    found = dict.fromkeys((*PARTS, REST), 0.0)
    for event in taken.key_averages():
        part = next((name for name, known in PARTS.items() if event.key in known), REST)
        found[part] += event.self_cpu_time_total / 1e3
    for name, seconds in compiled.items():
        found[name if name in PARTS else REST] += 1e3 * seconds
    return found


def _opening(table: Path) -> Section:
    """The steps from files to the first embedding, in a process that has done it before."""
    samples: dict[Cell, list[float]] = {}
    for turn in range(_ROUNDS + 1):
        for step, seconds in _steps(table):
            if turn:  # the first makes the mapped copy
                samples.setdefault((step, "time"), []).append(1e3 * seconds)
    note = "all-MiniLM-L6-v2, on all cores; files in the page cache."
    return Section("profile opening", "Where opening a model goes", note, {"time": "ms"}, samples)


def _steps(table: Path) -> Iterator[tuple[str, float]]:
    engine = ArrowEngine(table, verify=False)
    unverified = timed(lambda: ArrowEngine(table, verify=False))
    verified = timed(lambda: ArrowEngine(table))
    loader = WeightLoader(table, mapped=True)
    _, spec, stored = text_parts(loader.spec)
    content = (loader.mapped_copy and loader.mapped_copy.tokenizer) or loader.table.read_role(
        FileRole.TOKENIZER
    )
    tokenizer = timed(lambda: TextTokenizer(content, spec, stored.max_seq_length))
    yield "tokenizer", tokenizer
    yield "checksums of every weight", max(0.0, verified - unverified)
    yield "the rest of opening", unverified - tokenizer
    first = timed(lambda: engine.encode(SENTENCE))
    again = timed(lambda: engine.encode(SENTENCE))
    yield "making ready, on the first text", first - again
    yield "a text", again


if __name__ == "__main__":
    sys.exit(main())

"""Mutates a weight table or its mapped copy and demands that every change is noticed.

Run as a program, so that a decoder that crashes takes no test with it. It prints the number of
each mutation before it reads the file, and a failing one can be run alone:

    python -m tests.weights.fuzz table model.parquet --seed 1 --first 1234 --count 1
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from llm_compression.errors import LLMCompressionError
from llm_compression.weights.mapped import MappedCopy
from llm_compression.weights.reader import WeightTable, raw_values
from tests.weights.mutation import Mutation, Patient, Regions, draw, sweep

HEADER = 24  # the first bytes of a page
Check = Callable[[], str | None]  # what went wrong, or None if the change was noticed


def table_regions(path: Path) -> Regions:
    """Every kind of byte that a weight table has."""
    size, manifest = path.stat().st_size, WeightTable(path).manifest
    footer = pq.read_metadata(path).serialized_size
    tensors = [range(e.stored.start, e.stored.stop) for e in manifest.tensors]
    files = [range(e.stored.start, e.stored.stop) for e in manifest.files]
    headers, dictionaries = pages(path)
    return {
        "head magic": [range(4)],
        "page header": headers,
        "dictionary": dictionaries,
        "tensor": tensors,
        "attached file": files,
        "footer": [range(size - 8 - footer, size - 8)],
        "footer length": [range(size - 8, size - 4)],
        "tail magic": [range(size - 4, size)],
        "anywhere": [range(size)],
    }


def pages(path: Path) -> tuple[list[range], list[range]]:
    """Headers of the first pages of all column chunks, and the dictionary pages."""
    metadata = pq.read_metadata(path)
    headers, dictionaries = [], []
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for chunk in map(group.column, range(group.num_columns)):
            headers.append(range(chunk.data_page_offset, chunk.data_page_offset + HEADER))
            if chunk.dictionary_page_offset:
                dictionaries.append(range(chunk.dictionary_page_offset, chunk.data_page_offset))
    return headers, dictionaries


def table_check(path: Path) -> Check:
    """Everything inside is asked for: right or refused, and something must be refused."""
    table = WeightTable(path)
    tensors = [entry.name for entry in table.manifest.tensors]
    truth = {name: values(table, name).copy() for name in tensors}
    files = {entry.name: table.read_file(entry.name) for entry in table.manifest.files}

    def check() -> str | None:
        try:
            harmed = WeightTable(path)
            harmed.manifest  # noqa: B018  the look inside that may refuse
        except LLMCompressionError:
            return None
        verdicts = [
            *(judge(lambda n=n: np.array_equal(values(harmed, n), truth[n])) for n in truth),
            *(judge(lambda n=n: harmed.read_file(n) == files[n]) for n in files),
        ]
        if "wrong" in verdicts:
            return "wrong contents came out"
        return None if "refused" in verdicts else "nothing was noticed"

    return check


def judge(is_right: Callable[[], bool]) -> str:
    try:
        return "right" if is_right() else "wrong"
    except LLMCompressionError:
        return "refused"


def values(table: WeightTable, name: str) -> np.ndarray:
    return raw_values(table.read_tensors([name])[name], table.entry(name).dtype)


def copy_regions(path: Path, fingerprint: str) -> Regions:
    """Values, and what lies before, between and behind them."""
    tensors = MappedCopy(path, fingerprint).tensors.values()
    held = [range(t.start, t.start + t.nbytes) for t in tensors]
    starts = [0, *(part.stop for part in held)]
    stops = [*(part.start for part in held), path.stat().st_size]
    around = [range(a, b) for a, b in zip(starts, stops, strict=True) if a < b]
    return {
        "first header": around[:1],
        "header between": around[1:-1],
        "footer": around[-1:],
        "value": held,
        "anywhere": [range(path.stat().st_size)],
    }


def copy_check(path: Path, model: Path) -> Check:
    """Headers are noticed on opening, values by `verify`."""
    table, content = WeightTable(model), np.fromfile(path, np.uint8)
    is_value = np.zeros(len(content), bool)
    for part in copy_regions(path, table.fingerprint)["value"]:
        is_value[part.start : part.stop] = True

    def check() -> str | None:
        try:
            copy = MappedCopy(path, table.fingerprint)
        except LLMCompressionError:
            return None
        harmed = np.fromfile(path, np.uint8)
        if len(harmed) != len(content) or np.any((harmed != content) & ~is_value):
            return "nothing was noticed on opening"
        try:
            copy.verify(table)
        except LLMCompressionError:
            return None
        return "nothing was noticed by verify"

    return check


def mutations(patient: Patient, regions: Regions, args: argparse.Namespace) -> Iterator[Mutation]:
    """The file is harmed while the caller looks at it."""
    for i in range(args.first, args.first + args.count):
        sys.stderr.write(f"{i}\n")
        sys.stderr.flush()
        rng = random.Random(f"{args.seed}/{i}")
        content = patient.content
        mutation = sweep(content, i, rng) if args.sweep else draw(content, regions, rng)
        patient.harm(mutation)
        yield mutation
        patient.heal(mutation)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["table", "copy"])
    parser.add_argument("table", type=Path)
    parser.add_argument("--copy", type=Path, help="the mapped copy, for kind copy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sweep", action="store_true", help="flip a bit of each byte in turn")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return run(args, Path(folder) / "patient")


def run(args: argparse.Namespace, path: Path) -> int:
    """Print what was done; 1 if a mutation got through."""
    shutil.copyfile(args.table if args.kind == "table" else args.copy, path)
    if args.kind == "table":
        regions, check = table_regions(path), table_check(path)
    else:
        fingerprint = WeightTable(args.table).fingerprint
        regions, check = copy_regions(path, fingerprint), copy_check(path, args.table)
    done: dict[str, Counter[str]] = {"regions": Counter(), "operations": Counter()}
    failures = []
    for i, mutation in enumerate(mutations(Patient(path), regions, args), args.first):
        done["regions"][mutation.region] += 1
        done["operations"][mutation.operation] += 1
        if problem := check():
            failures.append(f"mutation {i} of seed {args.seed}: {mutation}: {problem}")
    sys.stdout.write(json.dumps({**done, "failures": failures}))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

"""Steps that a dataset can take, what they do to its rows, and rows that any reader can check.

A row's vector and metadata follow from its id and version.
"""

import json
import random
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from llm_compression.memory.identity import VectorIdentity
from llm_compression.memory.storage.manifest import parse, read_bytes
from llm_compression.memory.vector_storage import VectorStorage

WIDTH = 8
State = dict[str, int]  # id -> version


class Step(NamedTuple):
    kind: str
    ids: tuple[str, ...] = ()
    version: int = 0


def random_steps(seed: int, owner: str) -> Iterator[Step]:
    """A long series of all kinds, about ids that begin with ``owner``."""
    chosen, state, version = random.Random(seed), dict[str, int](), 0
    while True:
        version += 1
        kind = chosen.choice(KINDS)
        if kind == "store":
            n = chosen.choice((1, 1, 1, 3, 40))
            step = Step(kind, tuple(f"{owner}-{version}-{i}" for i in range(n)), version)
        elif kind in ("compact", "index"):
            step = Step(kind, version=version)
        elif not state:
            continue
        else:
            n = 1 if kind == "update" else min(len(state), chosen.choice((1, 3, 20)))
            step = Step(kind, tuple(chosen.sample(sorted(state), n)), version)
        state = after(state, step)
        yield step


KINDS = ("store", "store", "replace", "update", "delete", "compact", "index")


def take(storage: VectorStorage, step: Step) -> None:
    """One step of a dataset of texts."""
    ids = list(step.ids)
    if step.kind in ("store", "replace"):
        put(storage, ids, step.version, replace=step.kind == "replace")
    elif step.kind == "update":
        content = {"version": step.version, "of": ids[0]}
        storage.update("text", ids[0], embedding=vector(ids[0], step.version), metadata=content)
    elif step.kind == "delete":
        storage.delete("text", ids)
    elif step.kind == "compact":
        storage.compact("text")
    else:
        storage.dataset("text").set_indexed()


def after(state: State, step: Step) -> State:
    """What the rows are once a step is done."""
    if step.kind == "delete":
        return {one: version for one, version in state.items() if one not in step.ids}
    return {**state, **dict.fromkeys(step.ids, step.version)}


def put(
    storage: VectorStorage, ids: Sequence[str], version: int = 0, *, replace: bool = False
) -> None:
    storage.store(
        "text",
        ids,
        [f"text of {one}" for one in ids],
        np.stack([vector(one, version) for one in ids]),
        model="a model",
        metadata=[{"version": version, "of": one} for one in ids],
        replace=replace,
    )


def vector(one: str, version: int) -> np.ndarray:
    seed = zlib.crc32(f"{one} {version}".encode())
    return np.random.default_rng(seed).standard_normal(WIDTH).astype(np.float32)


def held(storage: VectorStorage) -> State:
    """The rows that are there, each compared with what it must be to the bit."""
    rows = storage.query("text")
    ids = rows["embedding_id"].to_pylist()
    contents = [json.loads(text) for text in rows["metadata"].to_pylist()]
    for one, content, source, found in zip(
        ids, contents, rows["text_id"].to_pylist(), vectors(rows["embedding"]), strict=True
    ):
        assert content["of"] == one
        assert source == f"text of {one}"
        assert np.array_equal(found, vector(one, content["version"]))
    assert len(set(ids)) == len(ids)
    return {one: content["version"] for one, content in zip(ids, contents, strict=True)}


def vectors(column) -> np.ndarray:
    """(n, d) of a query's ``embedding``."""
    width = column.type.list_size
    return column.combine_chunks().flatten().to_numpy().reshape(len(column), width)


def files(storage: VectorStorage) -> set[str]:
    """Names of the files of a dataset of texts that hold its rows."""
    folder = storage.path / "text"
    entries = parse(read_bytes(folder), folder, "text").fragments
    names = {f"data/{entry.file.name}" for entry in entries}
    return names | {f"deleted/{entry.deleted.name}" for entry in entries if entry.deleted}


def found_files(path: Path) -> set[str]:
    """Names of the files that stand in the folder of a storage's texts, locks left out."""
    folder = path / "text"
    found = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    return {name for name in found if not name.endswith(".lock")}


def assert_works_on(path: Path) -> None:
    """A storage takes further steps, and what a killed one left behind goes."""
    storage = VectorStorage(path)
    state = held(storage)
    put(storage, ["one", "other"], 7)
    storage.delete("text", ["one"])
    assert held(storage) == {**state, "other": 7}
    assert found_files(path) == files(storage) | {"manifest.json"}
    assert storage.count("text") == len(state) + 1
    assert storage.verify() == []
    storage.delete("text", ["other"])


def store(storage: VectorStorage, embeddings: object, **options) -> None:
    n = len(embeddings)
    storage.store("text", [f"id {i}" for i in range(n)], ["x"] * n, embeddings, **options)


def identity(**changed) -> VectorIdentity:
    known = {"modality": "text", "model": "m", "dimension": 2}
    return VectorIdentity.declared(**{**known, **changed}, normalized=True, precision="float32")

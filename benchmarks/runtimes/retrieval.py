"""`python -m benchmarks.runtimes.retrieval`: what computing in fewer bits does to retrieval.

Real weights on real data: captions by MiniLM, spoken digits by Whisper's encoder, CIFAR-10 by a
small CLIP that was trained on it.
"""

import argparse
import json
import random
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.case import ASSETS, MINILM, Case
from benchmarks.claims import Cell
from benchmarks.digits import RECORDINGS, TEST, accuracy, number
from benchmarks.recording import recording
from benchmarks.results import FOLDER, Section, to_json, write
from benchmarks.runtimes.contests import KINDS
from benchmarks.tables import sections_markdown
from benchmarks.whisper import whisper_case
from llm_compression import AudioEncoder, TextEncoder, VisionEncoder, convert
from llm_compression.metrics.similarity import unit_rows

STANDARD = FOLDER / "retrieval.json"
_CAPTIONS = 5000
_KNOWN = 15  # recordings of a digit and speaker below this number are used
_EACH = 100  # pictures of a class
_DATA = ("coco", "fsdd", "cifar10", "tiny-clip-cifar10", "whisper-base-encoder")
_TEN = 10
_NOTE = (
    "Shares of right answers. {captions:,} captions of COCO by all-MiniLM-L6-v2, {asked} of them "
    "five each of 60 photographs. {digits} recordings of the Free Spoken Digit Dataset in the fast "
    "mode of {whisper}, the test recordings among the others. {pictures:,} pictures of CIFAR-10 by "
    "a small CLIP trained on it, each to the nearest of ten class names."
)
Samples = dict[Cell, list[float]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Embed everything in every type, and store one results file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtimes.retrieval")
    parser.add_argument("--output", type=Path, default=STANDARD, help="results file")
    output: Path = parser.parse_args(arguments).output
    absent = [name for name in _DATA if not (ASSETS / name).exists()]
    if absent:
        print(
            f"{parser.prog}: error: {ASSETS} has no {', '.join(absent)}; its data is real, "
            "so set LLM_COMPRESSION_ASSETS to a folder that has it",
            file=sys.stderr,
        )
        return 1
    with (
        recording(("torch",)) as record,
        tempfile.TemporaryDirectory(prefix="retrieval-") as name,
    ):
        section = to_json(_section(Path(name)))
    run = {"model": "all-MiniLM-L6-v2, whisper-base and a small CLIP", "quick": False, "only": None}
    run["minutes"] = record.minutes
    print(sections_markdown(write(output, record.machine, run, [section])))
    return 0


def _section(folder: Path) -> Section:
    case, whisper = whisper_case(Case(folder, folder, folder, quick=True))
    captions, groups = _captions()
    digits = [f for f in sorted(RECORDINGS.glob("*.wav")) if number(f) < _KNOWN]
    pictures, classes = _pictures()
    samples: Samples = {}
    of_captions = {kind: _texts(folder, kind, captions) for kind in KINDS}
    for kind in KINDS:
        samples |= of_texts(kind, of_captions[kind], of_captions[KINDS[0]], groups)
        samples |= _of_digits(kind, case.table, digits)
        samples |= _of_pictures(kind, folder, pictures, classes)
        print(f"{kind}: measured", file=sys.stderr, flush=True)
    note = _NOTE.format(
        captions=len(captions),
        asked=int((groups >= 0).sum()),
        digits=len(digits),
        whisper=whisper,
        pictures=len(pictures),
    )
    title = "What fewer bits do to retrieval"
    return Section("retrieval", title, note, dict.fromkeys(KINDS, "share"), samples)


def of_texts(kind: str, found: np.ndarray, exact: np.ndarray, groups: np.ndarray) -> Samples:
    """Of captions with a photograph (``groups`` of 0 and more): what is near them, (n, E) each."""
    asked = np.flatnonzero(groups >= 0)
    near, wanted = nearest(found, asked), nearest(exact, asked)
    same = groups[near] == groups[asked][:, None]
    others = np.array([(groups == groups[i]).sum() - 1 for i in asked])
    kept = [len(set(a) & set(b)) / _TEN for a, b in zip(near, wanted, strict=True)]
    return {
        ("captions: the nearest is of the same photograph", kind): [float(same[:, 0].mean())],
        ("captions: of its others, among the ten nearest", kind): [
            float((same.sum(1) / others).mean())
        ],
        ("captions: ten nearest as in float32", kind): [float(np.mean(kept))],
        ("captions: least cosine to float32", kind): [float((found * exact).sum(1).min())],
    }


def nearest(embeddings: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The rows nearest to those ``asked``, themselves left out, best first: (q, 10)."""
    scores = embeddings[asked] @ embeddings.T
    scores[np.arange(len(asked)), asked] = -np.inf
    found: np.ndarray = np.argsort(-scores, axis=1, kind="stable")[:, :_TEN]
    return found


def _texts(folder: Path, kind: str, captions: list[str]) -> np.ndarray:
    table = folder / "minilm.parquet"
    if not table.exists():
        convert(MINILM, table)
    return unit_rows(TextEncoder(table, compute_dtype=kind).encode(captions))


def _of_digits(kind: str, table: Path, files: list[Path]) -> Samples:
    encoder = AudioEncoder(table, mode="fast", compute_dtype=kind)
    found = unit_rows(encoder.encode(files, batch_size=1))
    digits = np.array([path.stem[0] for path in files])
    test = np.array([number(path) < TEST for path in files])
    right = accuracy(found, found, digits, test)
    return {("digits: the nearest is the same digit", kind): [right]}


def _of_pictures(
    kind: str, folder: Path, pictures: list[Image.Image], classes: list[str]
) -> Samples:
    table = folder / "clip.parquet"
    if not table.exists():
        convert(ASSETS / "tiny-clip-cifar10", table)
    names = sorted(set(classes))
    texts = TextEncoder(table, compute_dtype=kind).encode([f"a photo of a {n}" for n in names])
    seen = VisionEncoder(table, compute_dtype=kind).encode(pictures)
    chosen = np.array(names)[(unit_rows(seen) @ unit_rows(texts).T).argmax(1)]
    return {("CIFAR-10: the class is right", kind): [float((chosen == np.array(classes)).mean())]}


def _captions() -> tuple[list[str], np.ndarray]:
    """Captions, and the photograph of each, -1 for none."""
    lines = (ASSETS / "coco/captions.jsonl").read_text(encoding="utf-8").splitlines()
    of_pictures = [json.loads(line)["captions"] for line in lines]
    known = [caption for five in of_pictures for caption in five]
    rest = (ASSETS / "coco/all_captions.txt").read_text(encoding="utf-8").splitlines()
    rest = sorted(set(rest) - set(known))
    chosen = random.Random(0).sample(rest, _CAPTIONS - len(known))
    groups = [i for i, five in enumerate(of_pictures) for _ in five]
    return [*known, *chosen], np.array([*groups, *[-1] * len(chosen)])


def _pictures() -> tuple[list[Image.Image], list[str]]:
    """The first pictures of each class, and their classes."""
    found: list[tuple[Image.Image, str]] = []
    with tarfile.open(ASSETS / "cifar10/test.tar") as tar:
        for name, members in sorted(_by_class(tar).items()):
            for member in sorted(members, key=lambda m: m.name)[:_EACH]:
                content = tar.extractfile(member)
                assert content is not None  # it is a file
                found.append((Image.open(content).convert("RGB"), name))
    return [picture for picture, _ in found], [name for _, name in found]


def _by_class(tar: tarfile.TarFile) -> dict[str, list[tarfile.TarInfo]]:
    found: dict[str, list[tarfile.TarInfo]] = {}
    for member in tar.getmembers():
        if member.isfile():
            found.setdefault(Path(member.name).parent.name, []).append(member)
    return found


if __name__ == "__main__":
    sys.exit(main())

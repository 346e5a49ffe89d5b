"""Sounds beside transformers: the log-mel front end, latency by length, cold start and memory."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.audio_programs import OPENERS, RATE, Encode
from benchmarks.case import Case, WrongResultError, check_embeddings
from benchmarks.claims import Cell, Claim
from benchmarks.measure import interleave, timed
from benchmarks.process import Run, alone, run_program
from benchmarks.results import Section
from benchmarks.whisper import SECONDS, sounds, whisper_case
from llm_compression import AudioEncoder, WeightLoader
from llm_compression.metrics.similarity import unit_rows

EXACT, FAST, THEIRS = "llm_compression", "llm_compression, mode fast", "transformers"
_MODES = {EXACT: "exact", FAST: "fast", THEIRS: "transformers"}
_NUMPY = "transformers, numpy"
_MEL_BOUND = 1e-4
_FASTER = 1 / 8  # of the exact mode's time for one second
_PROCESS, _OPEN, _FIRST, _PEAK = "process", "import and open", "first embedding", "peak memory"


def measure(case: Case) -> list[Section]:
    """Three tables on whisper-base's encoder, or two in the quick form, without cold starts."""
    whisper, what = whisper_case(case)
    # after other benchmarks freed memory would be kept, from which transformers gains
    warm = [alone(_front_end, whisper), _latency(whisper, what)]
    return warm if case.quick else [*warm, _cold_start(whisper, what)]


def _column(seconds: int) -> str:
    return f"{seconds} s"


def _front_end(case: Case) -> Section:
    """Samples to mel frames, padded to 30 s, as each library's processor gives them."""
    from threadpoolctl import ThreadpoolController  # comes with scikit-learn, which librosa needs
    from transformers import WhisperFeatureExtractor

    heard = sounds()
    ours = AudioEncoder(case.table).processor
    theirs = WhisperFeatureExtractor()  # type: ignore[no-untyped-call]
    pools = ThreadpoolController()

    def numpy_path(samples: np.ndarray) -> np.ndarray:
        whole = np.pad(samples, (0, theirs.n_samples - len(samples)))
        # as fast as with more; those would stay in the way of whoever comes next
        with pools.limit(limits=1, user_api="blas"):
            frames: np.ndarray = theirs._np_extract_fbank_features(whole[None], "cpu")
        return frames

    processors: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        EXACT: lambda samples: ours(samples, sampling_rate=RATE),
        THEIRS: lambda samples: theirs(samples, sampling_rate=RATE)["input_features"],
        _NUMPY: numpy_path,
    }
    contestants = {
        (name, _column(s)): partial(timed, partial(process, heard.samples[s]))
        for name, process in processors.items()
        for s in SECONDS
    }
    times = interleave(contestants, case.rounds(full=31, quick=5))
    found = [np.asarray(process(heard.samples[5])) for process in processors.values()]
    worst = max(float(np.abs(found[0] - other).max()) for other in found[1:])
    if not worst <= _MEL_BOUND:
        raise WrongResultError(f"mel frames differ by {worst:.2g}")
    return Section(
        name="mel",
        title="Log-mel frames of a sound",
        note=f"{heard.what}, samples at 16 kHz to 80 x 3,000 frames. transformers has a path on "
        "torch, its default, and one on numpy, whose products have one thread. All three in a "
        "process that has done nothing else.",
        units={_column(s): "ms" for s in SECONDS},
        samples=_milliseconds(times),
        claims=[
            Claim(f"{EXACT} / {other}, {_column(s)}", (EXACT, _column(s)), (other, _column(s)), 1.0)
            for other in (THEIRS, _NUMPY)
            for s in SECONDS
        ],
        checks=[f"the frames of all three agree within {worst:.1g} (allowed: {_MEL_BOUND:g})"],
    )


def _latency(case: Case, what: str) -> Section:
    heard = sounds()
    openers: dict[str, Encode] = {
        name: OPENERS[mode](str(case.checkpoint if name == THEIRS else case.table))
        for name, mode in _MODES.items()
    }
    contestants = {
        (name, _column(s)): partial(timed, partial(encode, heard.samples[s]))
        for name, encode in openers.items()
        for s in SECONDS
    }
    times = interleave(contestants, case.rounds(full=11, quick=2))
    second = _column(1)
    return Section(
        name="audio",
        title="Embed one sound in float32",
        note=f"{what}; {heard.what}, samples at 16 kHz to one embedding, one sound at a time, in "
        "one process. The exact mode and transformers run 30 s whatever the length.",
        units={_column(s): "ms" for s in SECONDS},
        samples=_milliseconds(times),
        claims=[
            Claim(f"mode fast / exact, {second}", (FAST, second), (EXACT, second), _FASTER),
            *(
                Claim(f"{name} / {THEIRS}, {_column(s)}", (name, _column(s)), (THEIRS, _column(s)))
                for name in (EXACT, FAST)
                for s in SECONDS
            ),
        ],
        checks=[_check([openers[name](heard.samples[s]) for name in (EXACT, THEIRS)], _column(s))
                for s in SECONDS],
    )  # fmt: skip


def _cold_start(case: Case, what: str) -> Section:
    WeightLoader(case.table, mapped=True)  # the copy exists before any process starts
    samples = case.folder / "second.npy"
    np.save(samples, sounds().samples[1])
    contestants = {
        name: partial(_program, mode, case.checkpoint if name == THEIRS else case.table, samples)
        for name, mode in _MODES.items()
    }
    runs = interleave(contestants, 7)
    exact = [np.array(run.report["embedding"]) for n in (EXACT, THEIRS) for run in runs[n]]
    return Section(
        name="audio_cold_start",
        title="Cold start: one process, one second of sound",
        note=f"{what}; wall time of a whole process, from its start to its exit, and its peak "
        "memory (VmHWM, mapped pages included); files in the page cache.",
        units={_PROCESS: "s", _OPEN: "s", _FIRST: "s", _PEAK: "MiB"},
        samples=_process_samples(runs),
        claims=[
            Claim(f"{name} / {THEIRS}, {column}", (name, column), (THEIRS, column))
            for column in (_PROCESS, _OPEN, _PEAK)
            for name in (EXACT, FAST)
        ],
        checks=[_check(exact, "all processes, mode exact")],
    )


def _program(mode: str, model: Path, samples: Path) -> Run:
    return run_program("benchmarks.audio_programs", ["first", mode, model, samples])


def _process_samples(runs: Mapping[str, Sequence[Run]]) -> dict[Cell, list[float]]:
    return {
        cell: values
        for name, of_one in runs.items()
        for cell, values in {
            (name, _PROCESS): [run.seconds for run in of_one],
            (name, _OPEN): [run.report["open"] for run in of_one],
            (name, _FIRST): [run.report["first"] for run in of_one],
            (name, _PEAK): [run.peak_mib for run in of_one],
        }.items()
    }


def _milliseconds(times: Mapping[Cell, Sequence[float]]) -> dict[Cell, list[float]]:
    return {cell: [1e3 * seconds for seconds in of_one] for cell, of_one in times.items()}


def _check(embeddings: Sequence[np.ndarray], what: str) -> str:
    return check_embeddings(list(unit_rows(np.stack(embeddings))), f"unit embeddings of {what}")

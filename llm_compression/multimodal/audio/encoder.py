"""AudioEncoder: sounds to embeddings by the audio tower of a model."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, overload

import numpy as np

from llm_compression.errors import InputError
from llm_compression.inference.bind import Tensors
from llm_compression.inference.compute import Compute
from llm_compression.inference.device import fetched
from llm_compression.inference.taps import Taps
from llm_compression.metrics.similarity import unit_rows
from llm_compression.multimodal.audio.input import as_sounds, name_of
from llm_compression.multimodal.audio.mel import padded
from llm_compression.multimodal.audio.model import AudioModel, audio_parts
from llm_compression.multimodal.audio.processor import AudioProcessor, Window
from llm_compression.multimodal.audio.windows import WindowEmbeddings
from llm_compression.multimodal.batching import batch_tokens, cut, may_show, with_progress
from llm_compression.multimodal.encoded import Encoded
from llm_compression.multimodal.inputs import check_choice, check_count, check_flags
from llm_compression.multimodal.pretrained import Device, ModelPath, Pretrained
from llm_compression.multimodal.skipped import (
    EncodedInputs,
    OnError,
    check_on_error,
    warn_of_skipped,
)
from llm_compression.multimodal.trainable import Trainable
from llm_compression.spec.names import AUDIO_MODES
from llm_compression.spec.tensors import audio_tensors

_AHEAD = 8  # batches' worth of windows that the fast mode sorts by length together
_LONG_WORK = 32  # windows from which a terminal sees a progress bar unasked
Heard = tuple[int, Window]  # index of the sound, and one of its windows


class AudioEncoder(Pretrained):
    """The audio tower of an open model.

    A sound is a path, bytes, or an array with its ``sampling_rate``; `open_sound` says how each
    is read. An embedding is the mean over the positions that hear the sound, in all its windows,
    those in an overlap once for each window. Silence has an embedding like any sound.

    Args:
        model_path: a weight table, a folder with ``model.parquet``, or an open `WeightLoader`.
        compute_dtype: what the core computes in: ``float32``, ``bfloat16``, ``float16`` (GPUs) or
            ``int8`` (the CPU).
        mapped: open the memory-mapped copy, made on first use; otherwise decode the Parquet file.
        verify: check every weight against its checksum, decoded or mapped.
        packed: on first use copy the weights into the order in which this processor reads them,
            and let the mapped ones go; otherwise compute on those in place, which is slower.
        device: ``cpu``, or a GPU as ``cuda`` or ``cuda:N``, where ``packed`` has no meaning.
        mode: ``exact`` pads every window with silence to the tower's length, as the reference does;
            ``fast`` runs little of it, for embeddings that are close but not equal (`fast_layout`).
        window: seconds of one window of a long sound, by default those of the tower, 30.
        overlap: seconds that one window shares with the next, by default none.

    Raises:
        WeightTableError: a kind that says what is wrong with the file.
        InputError: the model has no audio tower, or an option is out of range.
    """

    def __init__(
        self,
        model_path: ModelPath,
        *,
        compute_dtype: str = "float32",
        mapped: bool = True,
        verify: bool = True,
        packed: bool = True,
        device: Device = "cpu",
        mode: str = "exact",
        window: float | None = None,
        overlap: float = 0.0,
    ) -> None:
        super().__init__(
            model_path, mapped=mapped, verify=verify, packed=packed, compute_dtype=compute_dtype,
            device=device, mode=mode, window=window, overlap=overlap,
        )  # fmt: skip
        check_choice(mode, "mode", AUDIO_MODES)
        audio, sound = audio_parts(self.spec)
        self.mode = mode
        self.processor = AudioProcessor(sound, audio.num_mel_bins, window=window, overlap=overlap)
        weights = self._loader.load_weights(audio_tensors(audio))
        self._model = AudioModel(self.spec, weights, self._compute)

    def get_embedding_dimension(self) -> int:
        """Width E of an embedding."""
        return self._model.spec.dimension

    @overload
    def encode(
        self,
        audio: object,
        *,
        sampling_rate: int | None = ...,
        batch_size: int = ...,
        show_progress_bar: bool | None = ...,
        normalize_embeddings: bool = ...,
        on_error: Literal["raise"] = ...,
    ) -> np.ndarray: ...

    @overload
    def encode(
        self,
        audio: object,
        *,
        sampling_rate: int | None = ...,
        batch_size: int = ...,
        show_progress_bar: bool | None = ...,
        normalize_embeddings: bool = ...,
        on_error: Literal["skip"],
    ) -> EncodedInputs: ...

    def encode(
        self,
        audio: object,
        *,
        sampling_rate: int | None = None,
        batch_size: int = 4,
        show_progress_bar: bool | None = None,
        normalize_embeddings: bool = False,
        on_error: OnError = "raise",
    ) -> np.ndarray | EncodedInputs:
        """One embedding for each sound, however long: (n, E), or (E,) for one.

        Args:
            audio: a sound or a sequence of them.
            sampling_rate: samples per second of arrays; files say their own.
            batch_size: windows run together at most; long ones run one by one.
            show_progress_bar: None shows one for long work on a terminal.
            normalize_embeddings: scale each embedding to unit length.
            on_error: ``raise`` stops at the first sound that cannot be read; ``skip`` leaves such
                out, warns, and gives `EncodedInputs`, which names them.

        Raises:
            InputError: an input that is no sound, or an option out of range.
        """
        check_on_error(on_error)
        check_flags(normalize_embeddings=normalize_embeddings)
        sounds, single = as_sounds(audio)
        skipped: dict[int, str] | None = {} if on_error == "skip" else None
        sums = np.zeros((len(sounds), self.get_embedding_dimension()), np.float64)
        counts = np.zeros(len(sounds), np.int64)
        run = self._run(sounds, sampling_rate, batch_size, skipped)
        for batch, encoded in self._shown(run, sounds, sampling_rate, show=show_progress_bar):
            for (index, window), pooled in zip(batch, fetched(encoded.pooled), strict=True):
                sums[index] += pooled * float(window.heard)
                counts[index] += window.heard
        kept = np.array([i for i in range(len(sounds)) if i not in (skipped or ())], np.int64)
        found = (sums[kept] / counts[kept, None]).astype(np.float32)
        found = unit_rows(found) if normalize_embeddings else found
        if skipped is not None:
            warn_of_skipped(skipped, len(sounds), "sounds")
            return EncodedInputs(found, kept, skipped)
        return found[0] if single else found

    def encode_windows(
        self,
        audio: object,
        *,
        sampling_rate: int | None = None,
        batch_size: int = 4,
        show_progress_bar: bool | None = None,
        normalize_embeddings: bool = False,
        on_error: OnError = "raise",
    ) -> WindowEmbeddings:
        """One embedding for each window of each sound, in order, with its times; as `encode`."""
        check_on_error(on_error)
        check_flags(normalize_embeddings=normalize_embeddings)
        sounds, _ = as_sounds(audio)
        skipped: dict[int, str] | None = {} if on_error == "skip" else None
        parts = [np.empty((0, self.get_embedding_dimension()), np.float32)]
        places = list[tuple[float, float, float]]()
        run = self._run(sounds, sampling_rate, batch_size, skipped)
        for batch, encoded in self._shown(run, sounds, sampling_rate, show=show_progress_bar):
            parts.append(fetched(encoded.pooled))
            places += [(index, window.start, window.stop) for index, window in batch]
        rows = [i for i, place in enumerate(places) if place[0] not in (skipped or ())]
        rows.sort(key=places.__getitem__)
        found = np.concatenate(parts)[rows]
        index, starts, stops = np.array([places[i] for i in rows], np.float64).reshape(-1, 3).T
        warn_of_skipped(skipped or {}, len(sounds), "sounds")
        found = unit_rows(found) if normalize_embeddings else found
        return WindowEmbeddings(found, index.astype(np.int64), starts, stops, skipped or {})

    def sequence(
        self, audio: object, *, sampling_rate: int | None = None, batch_size: int = 4
    ) -> list[np.ndarray] | np.ndarray:
        """The last hidden states at the P positions that hear each sound, windows after another.

        A list of (P, D), as sounds differ in length, or (P, D) for one sound.
        """
        sounds, single = as_sounds(audio)
        found: list[dict[float, np.ndarray]] = [{} for _ in sounds]
        for batch, encoded in self._run(sounds, sampling_rate, batch_size, None):
            states = fetched(encoded.sequences.padded(encoded.hidden))
            for (index, window), hidden in zip(batch, states, strict=True):
                found[index][window.start] = hidden[: window.heard]
        joined = [np.concatenate([of_one[s] for s in sorted(of_one)]) for of_one in found]
        return joined[0] if single else joined

    def trainable(self, train: str | Sequence[str] = ()) -> Trainable:
        """The tower for training (see `Trainable`), each window of each sound one of the B.

        Arrays have the model's sampling rate.
        """
        rate = self.processor.spec.sampling_rate

        def bind(tensors: Tensors) -> Callable[[object], Encoded]:
            model = AudioModel(self.spec, tensors, Compute(gradients=True))
            return lambda audio: self._encode(
                [w for _, w in self._windows(as_sounds(audio)[0], rate, None)], model=model
            )

        names = audio_tensors(self._model.spec)
        return Trainable(self._loader.load_weights(names), bind, train)

    def taps(self, audio: object, *, sampling_rate: int | None = None) -> dict[str, np.ndarray]:
        """Every named intermediate of the first windows of some sounds, as `validate` wants them.

        ``frames`` is (B, M, S); ``embeddings``, ``block.00.attn`` and so on are (B, P, D) and
        ``pooled`` and ``embedding`` (B, E), float32.
        """
        sounds, _ = as_sounds(audio)
        check_count(len(sounds), "the number of sounds")
        first = [next(self.processor.windows(s, name_of(s, i), sampling_rate))
                 for i, s in enumerate(sounds)]  # fmt: skip
        taps: Taps = {}
        self._encode(first, taps)
        length = self.processor.spec.window_frames
        frames = np.stack([padded(window.frames, length) for window in first])
        return {"frames": frames} | {name: fetched(t) for name, t in taps.items()}

    def _encode(
        self, windows: Sequence[Window], taps: Taps | None = None, model: AudioModel | None = None
    ) -> Encoded:
        return (model or self._model)(
            [window.frames for window in windows],
            [window.heard for window in windows],
            fast=self.mode == "fast",
            normalized=False,
            taps=taps,
        )

    def _run(
        self,
        sounds: Sequence[object],
        sampling_rate: int | None,
        batch_size: int,
        skipped: dict[int, str] | None,
    ) -> Iterator[tuple[list[Heard], Encoded]]:
        """Batches of windows, those of like length together; sounds come out of order.

        With ``skipped`` unreadable sounds go there, otherwise the first is an error. Some windows
        of a sound may have come before it proves unreadable.
        """
        check_count(batch_size, "batch_size")
        windows = self._windows(sounds, sampling_rate, skipped)
        ahead = batch_size * (_AHEAD if self.mode == "fast" else 1)
        while held := list(itertools.islice(windows, ahead)):
            held.sort(key=lambda heard: -heard[1].heard)
            lengths = [self._model.positions(w.heard, fast=self.mode == "fast") for _, w in held]
            for part in cut(lengths, batch_size, batch_tokens(self.device)):
                yield held[part], self._encode([window for _, window in held[part]])
            held.clear()  # before the next ones are taken

    def _windows(
        self, sounds: Sequence[object], sampling_rate: int | None, skipped: dict[int, str] | None
    ) -> Iterator[Heard]:
        for index, sound in enumerate(sounds):
            windows = self.processor.windows(sound, name_of(sound, index), sampling_rate)
            try:
                yield from ((index, window) for window in windows)
            except InputError as error:
                if skipped is None:
                    raise
                skipped[index] = str(error)

    def _shown(
        self,
        run: Iterator[tuple[list[Heard], Encoded]],
        sounds: Sequence[object],
        sampling_rate: int | None,
        *,
        show: bool | None,
    ) -> Iterator[tuple[list[Heard], Encoded]]:
        """``run`` with a progress bar over windows."""
        total = sum(self._count(sound, sampling_rate) for sound in sounds) if may_show(show) else 0
        return with_progress(
            run, total, "window", show=show, size=lambda done: len(done[0]), long=_LONG_WORK
        )

    def _count(self, sound: object, sampling_rate: int | None) -> int:
        try:
            return self.processor.count(sound, "sound", sampling_rate)
        except InputError:
            return 0  # the run itself says what is wrong with it

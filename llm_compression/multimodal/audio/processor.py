"""AudioProcessor: sounds to windows of mel frames, one window in memory at a time."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from llm_compression.errors import InputError
from llm_compression.multimodal.audio.input import Sound, as_sounds, name_of, open_sound
from llm_compression.multimodal.audio.mel import log_mel, padded
from llm_compression.spec.sound import SoundSpec


@dataclass(frozen=True, slots=True)
class Window:
    """Mel ``frames`` (M, S) of the seconds ``start`` to ``stop`` of a sound.

    So many positions of the tower are ``heard``: one for every two hops of sound.
    """

    frames: np.ndarray
    start: float
    stop: float
    heard: int


class AudioProcessor:
    """Mel frames of sounds as an audio tower takes them, and the windows of long ones.

    Args:
        spec: the front end.
        mels: rows M of a frame.
        window: seconds of one window, by default and at most those that the tower takes.
        overlap: seconds that one window shares with the next.

    Raises:
        InputError: ``window`` or ``overlap`` is out of range.
    """

    def __init__(
        self, spec: SoundSpec, mels: int, *, window: float | None = None, overlap: float = 0.0
    ) -> None:
        longest = float(spec.chunk_length)
        self.spec, self.mels = spec, mels
        self.window = _seconds("window", longest if window is None else window, longest)
        self.overlap = _seconds("overlap", overlap, self.window)
        self._size, self._shared = self._samples(self.window), self._samples(self.overlap)
        if self._size < 1:
            raise InputError(f"window is {self.window} s, which is less than one sample")
        if self._shared >= self._size:
            raise InputError(
                f"overlap {self.overlap} s leaves nothing new in a window of {self.window} s"
            )

    def __call__(self, audio: object, *, sampling_rate: int | None = None) -> np.ndarray:
        """Sounds of at most one window -> (B, M, S) float32, padded with silence to S frames.

        Equal to transformers' ``WhisperFeatureExtractor``, which cuts what is longer.

        Raises:
            InputError: one of them is no sound, or is longer.
        """
        sounds, _ = as_sounds(audio)
        found = []
        for index, source in enumerate(sounds):
            windows = self.windows(source, name := name_of(source, index), sampling_rate)
            found.append(padded(next(windows).frames, self.spec.window_frames))
            if next(windows, None):
                raise InputError(f"{name} is longer than {self.window} s; take its windows")
        empty = np.empty((0, self.mels, self.spec.window_frames), np.float32)
        return np.stack(found) if found else empty

    def windows(
        self, source: object, name: str, sampling_rate: int | None = None
    ) -> Iterator[Window]:
        """The windows of one sound, in order; `open_sound` says what a sound can be.

        Raises:
            InputError: it is no sound; ``name`` is what the message calls it.
        """
        rate, start, heard_none = self.spec.sampling_rate, 0, True
        for samples in self._cut(resampled(open_sound(source, name, sampling_rate), rate)):
            heard_none = False
            stop = start + len(samples)
            frames = log_mel(samples, self.spec, self.mels)
            heard = math.ceil(len(samples) / (2 * self.spec.hop_length))
            yield Window(frames, start / rate, stop / rate, heard)
            start = stop - self._shared
        if heard_none:
            raise InputError(f"{name} holds no samples; there is nothing to hear")

    def count(self, source: object, name: str, sampling_rate: int | None = None) -> int:
        """How many windows a sound will have, as far as its file says; for progress alone.

        An open file, which can be read but once, counts as one.

        Raises:
            InputError: it is no sound.
        """
        if hasattr(source, "read"):
            return 1
        seconds = open_sound(source, name, sampling_rate).seconds
        return max(1, math.ceil((seconds - self.overlap) / (self.window - self.overlap)))

    def _samples(self, seconds: float) -> int:
        return round(seconds * self.spec.sampling_rate)

    def _cut(self, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Samples of whole windows, then of the rest."""
        held, new = np.empty(0, np.float32), 0  # samples of which the last ``new`` are in no window
        for block in blocks:
            held, new = np.concatenate([held, block]) if len(held) else block, new + len(block)
            while len(held) >= self._size:
                yield held[: self._size]
                new = len(held) - self._size
                held = held[self._size - self._shared :]
        if new:
            yield held


def resampled(sound: Sound, rate: int) -> Iterator[np.ndarray]:
    """The blocks of a sound at another ``rate``, by soxr in high quality, as librosa does it."""
    if sound.rate == rate:
        yield from sound.blocks
        return
    import soxr  # comes with librosa

    resampler = soxr.ResampleStream(sound.rate, rate, 1, dtype="float32", quality="HQ")
    taken = given = 0
    for block in sound.blocks:
        part = resampler.resample_chunk(block)
        taken, given = taken + len(block), given + len(part)
        yield part
    rest = resampler.resample_chunk(np.empty(0, np.float32), last=True)
    due = math.ceil(taken * rate / sound.rate) - given  # soxr may give a sample less
    yield np.pad(rest, (0, max(0, due - len(rest))))[: max(0, due)]


def _seconds(name: str, value: object, most: float) -> float:
    """A number of seconds from 0 to ``most``.

    Raises:
        InputError: it is another thing.
    """
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if number and 0 <= float(value) <= most:  # type: ignore[arg-type]
        return float(value)  # type: ignore[arg-type]
    raise InputError(f"{name} is {value!r}; it must be a number of seconds in 0..{most:g}")

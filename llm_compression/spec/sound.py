"""SoundSpec: from samples to the mel frames that an audio tower takes."""

from dataclasses import dataclass

from llm_compression.errors import SpecError


@dataclass(frozen=True)
class SoundSpec:
    """Log-mel spectrogram: ``n_fft`` samples a frame, a frame every ``hop_length`` samples.

    A window of ``chunk_length`` seconds at ``sampling_rate`` Hz goes through the tower at once.
    """

    sampling_rate: int
    n_fft: int
    hop_length: int
    chunk_length: int

    def __post_init__(self) -> None:
        for field in ("sampling_rate", "n_fft", "hop_length", "chunk_length"):
            if getattr(self, field) < 1:
                raise SpecError(f"sound.{field} is {getattr(self, field)}; it must be at least 1")
        if self.n_fft > self.window_samples:
            raise SpecError(
                f"sound.n_fft {self.n_fft} is longer than a window of {self.window_samples} samples"
            )
        if self.window_samples % self.hop_length:
            raise SpecError(
                f"sound.hop_length {self.hop_length} does not divide the {self.window_samples} "
                "samples of a window"
            )

    @property
    def window_samples(self) -> int:
        """Samples of one window."""
        return self.chunk_length * self.sampling_rate

    @property
    def window_frames(self) -> int:
        """Mel frames of one window."""
        return self.window_samples // self.hop_length

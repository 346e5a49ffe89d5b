"""Log-mel spectrograms as Whisper takes them, only of the frames that hold sound."""

import functools

import numpy as np
import torch

from llm_compression.inference.products import as_asked
from llm_compression.spec.sound import SoundSpec

_FLOOR = 1e-10  # power below which nothing is heard
_RANGE = 8.0  # tens of decibels kept below the loudest bin
_TOGETHER = 512  # frames transformed at once, which fit the cache
_BREAK_HZ, _BREAK_MEL, _HZ_PER_MEL = 1000.0, 15.0, 200.0 / 3.0  # Slaney's scale: linear, then log
_STEP = np.log(6.4) / 27.0
_HIGHEST_HZ = 8000.0  # whatever the sampling rate: feature_extraction_whisper.py


def log_mel(samples: np.ndarray, spec: SoundSpec, mels: int) -> np.ndarray:
    """(n,) float samples of at most one window -> (M, S) float32, S the frames that hear them.

    Equal to those frames of transformers' spectrogram of the window padded with silence
    (feature_extraction_whisper.py, _np_extract_fbank_features): every further frame holds
    `silence` of these.
    """
    with as_asked("cpu"):  # a caller's autocast would round the power to its type
        return _log_mel(samples, spec, mels)


def _log_mel(samples: np.ndarray, spec: SoundSpec, mels: int) -> np.ndarray:
    window = torch.hann_window(spec.n_fft, dtype=torch.float64, device="cpu")
    filters = torch.from_numpy(mel_filters(spec.sampling_rate, spec.n_fft, mels)).float()
    parts = [
        filters @ _power(frames * window).T
        for frames in torch.split(_frames(samples, spec), _TOGETHER)
    ]
    logs = torch.cat(parts, dim=1).clamp_(min=_FLOOR).log10_()  # (M, S)
    logs = logs.clamp_(min=float(logs.max()) - _RANGE)
    heard: np.ndarray = logs.add_(4.0).div_(4.0).numpy()
    return heard


def _power(frames: torch.Tensor) -> torch.Tensor:
    """(s, n_fft) float64 -> (s, n_fft / 2 + 1) float32.

    In float32 the transform would drown bins far below the loudest in its rounding.
    """
    spectrum = torch.fft.rfft(frames)
    return torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag).float()


def silence(frames: np.ndarray) -> np.float32:
    """What a frame without sound holds beside ``frames``, the output of `log_mel`."""
    loudest = float(frames.max()) * 4.0 - 4.0
    return np.float32((max(np.log10(_FLOOR), loudest - _RANGE) + 4.0) / 4.0)


def padded(frames: np.ndarray, length: int) -> np.ndarray:
    """(M, S) -> (M, length) with silence behind."""
    whole = np.full((len(frames), length), silence(frames), np.float32)
    whole[:, : frames.shape[1]] = frames[:, :length]
    return whole


@functools.cache
def mel_filters(sampling_rate: int, n_fft: int, mels: int) -> np.ndarray:
    """(M, n_fft / 2 + 1) triangles on Slaney's mel scale, each of area 1.

    transformers/audio_utils.py, mel_filter_bank with norm and mel_scale "slaney".
    """
    edges = _hertz(np.linspace(_mel(0.0), _mel(_HIGHEST_HZ), mels + 2))
    bins = np.linspace(0, sampling_rate // 2, n_fft // 2 + 1)
    slopes = edges[:, None] - bins  # (M + 2, bins)
    rising = -slopes[:-2] / np.diff(edges)[:-1, None]
    falling = slopes[2:] / np.diff(edges)[1:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    weights: np.ndarray = triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return weights


def _mel(hertz: float) -> float:
    if hertz < _BREAK_HZ:
        return hertz / _HZ_PER_MEL
    return float(_BREAK_MEL + np.log(hertz / _BREAK_HZ) / _STEP)


def _hertz(mel: np.ndarray) -> np.ndarray:
    logarithmic = _BREAK_HZ * np.exp(_STEP * (mel - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _HZ_PER_MEL, logarithmic)


def _frames(samples: np.ndarray, spec: SoundSpec) -> torch.Tensor:
    """(n,) -> (S, n_fft): windows around every hop, mirrored at the ends of the padded window."""
    half = spec.n_fft // 2
    heard = -(-(len(samples) + half) // spec.hop_length)  # later windows hold silence alone
    count = min(max(heard, 1), spec.window_frames)
    behind = (count - 1) * spec.hop_length + half - len(samples)
    silence = min(max(behind, half + 1), spec.window_samples - len(samples))
    mirrored = np.empty(half + len(samples) + silence + half)
    whole = mirrored[half:-half]
    whole[: len(samples)], whole[len(samples) :] = samples, 0.0
    mirrored[:half], mirrored[-half:] = whole[half:0:-1], whole[-2 : -half - 2 : -1]
    return torch.from_numpy(mirrored).unfold(0, spec.n_fft, spec.hop_length)[:count]

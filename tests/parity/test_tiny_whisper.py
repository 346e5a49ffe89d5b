"""Every tap of Whisper's audio tower against transformers, on tiny random models."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from llm_compression import convert
from llm_compression.errors import LLMCompressionError, ParityError
from llm_compression.inference.attention import Attention, SeparateQKV
from llm_compression.inference.block import Block
from llm_compression.multimodal.audio import mel
from llm_compression.multimodal.audio import model as audio_model
from llm_compression.multimodal.audio.tower import AudioTower, Convolution, bind_audio_tower
from llm_compression.spec.block import Activation, NormPlacement
from llm_compression.validation.report import ValidationReport
from llm_compression.validation.samples import sample_sounds
from llm_compression.validation.tolerance import Tolerance
from llm_compression.validation.validate import validate
from tests.conversion.checkpoints import edit_json, read_tensors, write_tensors
from tests.whisper_checkpoints import ARCHITECTURES, WhisperFactory, noise, tone

pytestmark = pytest.mark.usefixtures("either_core")
BLOCKS = [f"block.{i:02d}.{part}" for i in range(2) for part in ("attn", "mlp")]
TAPS = ["frames", "embeddings", *BLOCKS, "final_norm", "pooled", "embedding"]
SOUNDS = [noise(0.5), tone(1.3), noise(2.0, seed=1)]


def check(checkpoint: Path, folder: Path, **options: object) -> ValidationReport:
    table = convert(checkpoint, folder / "model.parquet").path
    options = {"sounds": SOUNDS, **options}
    report = validate(table, checkpoint, **options)  # type: ignore[arg-type]
    assert report.passed, report.to_table()
    return report


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture(
    architecture: str, make_whisper: WhisperFactory, tmp_path: Path
) -> None:
    report = check(make_whisper(architecture), tmp_path, sounds=None)
    assert [tap.name for tap in report.taps] == TAPS
    assert (report.texts, report.images, report.sounds) == (0, 0, len(sample_sounds()))
    assert report.tolerance == Tolerance(absolute=None, relative=4e-5, cosine=0.999999)
    assert "float32, rel <= 4e-05, cosine >= 0.999999" in report.to_table()


def test_vectors_that_are_compared(tiny_whisper: Path, tiny_whisper_table: Path) -> None:
    report = validate(tiny_whisper_table, tiny_whisper, sounds=SOUNDS)
    rows = {tap.name: tap.n for tap in report.taps}
    assert rows == {
        **dict.fromkeys(TAPS, 3 * 100), "frames": 3 * 8, "pooled": 3, "embedding": 3,
    }  # fmt: skip


def test_a_decoder_that_was_kept_changes_nothing(tiny_whisper: Path, tmp_path: Path) -> None:
    table = convert(tiny_whisper, tmp_path / "model.parquet", keep_decoder=True).path
    report = validate(table, tiny_whisper, sounds=SOUNDS)
    assert report.passed, report.to_table()
    assert [tap.name for tap in report.taps] == TAPS


@pytest.mark.parametrize("prefix", ["model.", ""])
def test_an_encoder_alone(prefix: str, make_whisper: WhisperFactory, tmp_path: Path) -> None:
    checkpoint = make_whisper()
    tensors = {name.removeprefix("model."): t for name, t in read_tensors(checkpoint).items()}
    encoder = {prefix + name: t for name, t in tensors.items() if name.startswith("encoder.")}
    write_tensors(checkpoint, encoder)
    check(checkpoint, tmp_path)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu", "silu", "quick_gelu"])
def test_activation(activation: str, make_whisper: WhisperFactory, tmp_path: Path) -> None:
    check(make_whisper(activation_function=activation), tmp_path)


@pytest.mark.parametrize("heads", [1, 2, 8, 16])
def test_heads(heads: int, make_whisper: WhisperFactory, tmp_path: Path) -> None:
    check(make_whisper(encoder_attention_heads=heads), tmp_path)


def test_odd_sizes(make_whisper: WhisperFactory, tmp_path: Path) -> None:
    odd = {"d_model": 30, "encoder_attention_heads": 5, "decoder_attention_heads": 3}
    report = check(
        make_whisper(**odd, encoder_layers=3, encoder_ffn_dim=17, num_mel_bins=11), tmp_path
    )
    assert len(report.taps) == len(TAPS) + 2


@pytest.mark.parametrize("mels", [1, 80, 128])
def test_mel_bins(mels: int, make_whisper: WhisperFactory, tmp_path: Path) -> None:
    check(make_whisper(num_mel_bins=mels), tmp_path)


@pytest.mark.parametrize("seconds", [1, 5, 30])
def test_windows(seconds: int, make_whisper: WhisperFactory, tmp_path: Path) -> None:
    sounds = [*SOUNDS, noise(float(seconds)), noise(seconds + 1.0)]
    check(make_whisper(seconds=seconds), tmp_path, sounds=sounds)


def test_another_front_end(make_whisper: WhisperFactory, tmp_path: Path) -> None:
    checkpoint = make_whisper(max_source_positions=80)
    edit_json(checkpoint / "preprocessor_config.json", hop_length=200, n_fft=512)
    check(checkpoint, tmp_path)


def test_a_front_end_that_the_reference_cannot_run(
    make_whisper: WhisperFactory, tmp_path: Path
) -> None:
    """Of an odd number of samples it makes a frame too few."""
    checkpoint = make_whisper()
    edit_json(checkpoint / "preprocessor_config.json", n_fft=401)
    with pytest.raises(LLMCompressionError):
        check(checkpoint, tmp_path)


@pytest.mark.parametrize("samples", [1, 159, 160, 161, 320, 321, 31_999, 32_000, 32_001, 48_000])
def test_a_sound_of_any_length(samples: int, tiny_whisper: Path, tiny_whisper_table: Path) -> None:
    report = validate(tiny_whisper_table, tiny_whisper, sounds=[noise(3.0)[:samples]])
    assert report.passed, report.to_table()


def test_silence(tiny_whisper: Path, tiny_whisper_table: Path) -> None:
    sounds = [np.zeros(count, np.float32) for count in (1, 8000, 32_000)]
    report = validate(tiny_whisper_table, tiny_whisper, sounds=sounds)
    assert report.passed, report.to_table()


def test_positions_as_stored(make_whisper: WhisperFactory, tmp_path: Path) -> None:
    """Fresh ones are sines; a checkpoint may hold any."""
    checkpoint = make_whisper()
    tensors = read_tensors(checkpoint)
    name = "model.encoder.embed_positions.weight"
    drawn = torch.randn(100, 16, generator=torch.Generator().manual_seed(1))
    assert tensors[name].std() < 1
    write_tensors(checkpoint, {**tensors, name: drawn})
    check(checkpoint, tmp_path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_checkpoint_in_half_precision(
    dtype: torch.dtype, make_whisper: WhisperFactory, tmp_path: Path
) -> None:
    """What is stored in two bytes is computed in four."""
    check(make_whisper(dtype=dtype), tmp_path)


def test_bfloat16_has_its_own_row(tiny_whisper: Path, tiny_whisper_table: Path) -> None:
    report = validate(tiny_whisper_table, tiny_whisper, compute_dtype="bfloat16")
    assert report.passed, report.to_table()
    errors = {tap.name: tap.relative for tap in report.taps}
    assert errors.pop("frames") < 1e-5, "sound becomes frames in full precision"
    assert min(errors.values()) > 1e-3, "bfloat16 must differ from float32"
    noise = {tap.name: tap.noise for tap in report.taps if tap.noise is not None}
    assert min(noise.values()) > 3e-4, "what rounding the frames to bfloat16 does"
    assert report.tolerance == Tolerance(absolute=None, relative=0.3, cosine=0.8, embedding=0.9995)


def test_another_checkpoint_of_the_same_shape_fails(
    tiny_whisper_table: Path, make_whisper: WhisperFactory
) -> None:
    report = validate(tiny_whisper_table, make_whisper(seed=1), sounds=SOUNDS)
    assert [tap.name for tap in report.taps if tap.passed] == ["frames"]
    assert not report.passed


def test_a_decoder_is_no_reference(tiny_whisper_table: Path, make_whisper: WhisperFactory) -> None:
    with pytest.raises(ParityError, match=r"without .*encoder.* that are compared"):
        validate(tiny_whisper_table, make_whisper("WhisperForCausalLM"), sounds=SOUNDS)


def in_blocks(change: Callable[[Block], Block]) -> Callable[[AudioTower], AudioTower]:
    """Change every block of a tower."""

    def changed(tower: AudioTower) -> AudioTower:
        blocks = tuple(change(block) for block in tower.core.blocks)
        return replace(tower, core=replace(tower.core, blocks=blocks))

    return changed


def in_attention(change: Callable[[Attention], Attention]) -> Callable[[AudioTower], AudioTower]:
    """Change every attention of a tower."""
    return in_blocks(lambda block: replace(block, attn=change(block.attn)))


def in_projections(
    change: Callable[[SeparateQKV], SeparateQKV],
) -> Callable[[AudioTower], AudioTower]:
    """Change where every attention takes its queries, keys and values from."""
    return in_attention(lambda a: replace(a, qkv=change(a.qkv)))


def ending_in(convolution: Convolution, activation: Activation) -> Convolution:
    return replace(convolution, linear=replace(convolution.linear, activation=activation))


def strides_swapped(tower: AudioTower) -> AudioTower:
    return replace(
        tower, conv1=replace(tower.conv1, stride=2), conv2=replace(tower.conv2, stride=1)
    )


TANH = Activation.GELU_TANH
# each way to be wrong, and the first tap that shows it
WRONG: dict[str, tuple[Callable[[AudioTower], AudioTower], str]] = {
    "no positions": (lambda t: replace(t, position=torch.zeros_like(t.position)), "embeddings"),
    "positions one off": (lambda t: replace(t, position=t.position.roll(1, 0)), "embeddings"),
    "the first convolution strides": (strides_swapped, "embeddings"),
    "norms behind": (
        in_blocks(lambda b: replace(b, norm_placement=NormPlacement.POST)), "block.00.attn",
    ),
    "other heads": (in_attention(lambda a: replace(a, num_heads=2)), "block.00.attn"),
    "no looking ahead": (in_attention(lambda a: replace(a, causal=True)), "block.00.attn"),
    "no query bias": (
        in_projections(lambda p: replace(p, q=replace(p.q, bias=None))), "block.00.attn",
    ),
    "no value bias": (
        in_projections(lambda p: replace(p, v=replace(p.v, bias=None))), "block.00.attn",
    ),
    "queries for keys": (in_projections(lambda p: replace(p, q=p.k, k=p.q)), "block.00.attn"),
    "tanh": (
        in_blocks(lambda b: replace(b, mlp=replace(b.mlp, up=replace(b.mlp.up, activation=TANH)))),
        "block.00.mlp",
    ),
    "tanh in the convolutions": (
        lambda t: replace(t, conv1=ending_in(t.conv1, TANH), conv2=ending_in(t.conv2, TANH)),
        "embeddings",
    ),
    "another epsilon": (
        in_blocks(lambda b: replace(b, mlp_norm=replace(b.mlp_norm, eps=0.1))), "block.00.mlp",
    ),
    "no final norm": (lambda t: replace(t, final_norm=lambda x: x), "final_norm"),
}  # fmt: skip


@pytest.fixture(scope="module")
def failed(
    make_whisper: WhisperFactory, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], list[str]]:
    """Validates a Whisper of large weights, which show every part; the taps that fail."""
    checkpoint = make_whisper(std=0.5)
    table = convert(checkpoint, tmp_path_factory.mktemp("large") / "model.parquet").path

    def names() -> list[str]:
        report = validate(table, checkpoint, sounds=SOUNDS)
        found = [tap.name for tap in report.taps if not tap.passed]
        assert report.passed == (not found)
        return found

    assert names() == []
    return names


@pytest.mark.parametrize(("change", "first"), WRONG.values(), ids=WRONG)
def test_a_wrong_tower_fails(
    change: Callable[[AudioTower], AudioTower],
    first: str,
    failed: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A comparison that passes whatever the tower does would prove nothing."""
    monkeypatch.setattr(audio_model, "bind_audio_tower", lambda *a: change(bind_audio_tower(*a)))
    assert failed() == TAPS[TAPS.index(first) :]


def test_wrong_frames_fail(
    failed: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mel.torch, "hann_window", partial(torch.hann_window, periodic=False))
    assert failed() == TAPS


def test_a_mean_over_silence_fails(
    failed: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio_model, "mean_of_first", lambda hidden, _counts: hidden.mean(dim=1))
    assert failed() == ["pooled", "embedding"]


def test_a_bias_of_keys_is_the_one_thing_that_shows_nowhere(
    failed: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It adds the same to all scores of a query, which softmax takes away; hence there is none."""
    biased = in_projections(lambda p: replace(p, k=replace(p.k, bias=torch.ones(16))))
    monkeypatch.setattr(audio_model, "bind_audio_tower", lambda *a: biased(bind_audio_tower(*a)))
    assert failed() == []

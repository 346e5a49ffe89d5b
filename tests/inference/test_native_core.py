"""The compiled core beside the formula in float64, in every kind and shape."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from llm_compression.inference import trial
from llm_compression.inference.attention import Attention, SeparateQKV
from llm_compression.inference.block import Block
from llm_compression.inference.inference_core import InferenceCore
from llm_compression.inference.linear import Linear
from llm_compression.inference.mlp import MLP
from llm_compression.inference.native_core import FEW, NativeCore, as_stored, fits, pack
from llm_compression.inference.norm import LayerNorm
from llm_compression.inference.sequences import Sequences
from llm_compression.inference.taps import Taps
from llm_compression.inference.trial import usable
from llm_compression.native.library import Kind
from llm_compression.spec.block import Activation, NormPlacement

PRE, POST = NormPlacement
FLOAT32, BFLOAT16, INT8 = Kind
# of the largest state, over three blocks
BOUNDS = {FLOAT32: 3e-6, BFLOAT16: 2e-2, INT8: 4e-2}
LENGTHS = [[1], [16], [14, 15], [5, 4, 3, 1], [33] * 40, [130], [700, 3], [1] * 300]
SHAPES = [(24, 40, 3), (40, 52, 2), (64, 96, 1), (96, 64, 1), (384, 1536, 12)]


@pytest.fixture(autouse=True, params=["vectors", "matrix units"])
def _units(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    library = usable(FLOAT32)
    if library is None:
        return
    if request.param == "matrix units" and not library.amx:
        pytest.skip("no matrix units here")
    monkeypatch.setattr(library, "amx", request.param == "matrix units")


def random_core(
    width: int = 48,
    inner: int = 80,
    heads: int = 4,
    *,
    depth: int = 3,
    placement: NormPlacement = POST,
    activation: Activation = Activation.GELU,
    causal: bool = False,
    key_bias: bool = True,
) -> InferenceCore:
    generator = torch.Generator().manual_seed(width + inner)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    def linear(out: int, size: int, activation: Activation | None = None) -> Linear:
        return Linear(numbers(out, size) / size**0.5, numbers(out) / 5, activation)

    def norm() -> LayerNorm:
        return LayerNorm(1 + numbers(width) / 5, numbers(width) / 5, 1e-5)

    def block(name: str) -> Block:
        q, k, v, o = (linear(width, width) for _ in range(4))
        k = k if key_bias else replace(k, bias=None)
        scale = (width // heads) ** -0.5
        attention = Attention(SeparateQKV(q, k, v), o, heads, causal, scale)
        mlp = MLP(linear(inner, width, activation), linear(width, inner))
        return Block(name, attention, norm(), mlp, norm(), placement)

    return InferenceCore(tuple(block(f"block.{i:02d}") for i in range(depth)))


def doubled(core: InferenceCore) -> InferenceCore:
    """``core`` in float64."""

    def linear(of: Linear) -> Linear:
        return Linear(
            of.weight.double(), None if of.bias is None else of.bias.double(), of.activation
        )

    def norm(of: LayerNorm) -> LayerNorm:
        return LayerNorm(of.weight.double(), of.bias.double(), of.eps)

    def block(of: Block) -> Block:
        qkv = SeparateQKV(*(linear(getattr(of.attn.qkv, name)) for name in "qkv"))
        return replace(
            of,
            attn=replace(of.attn, qkv=qkv, o=linear(of.attn.o)),
            attn_norm=norm(of.attn_norm),
            mlp=MLP(linear(of.mlp.up), linear(of.mlp.down)),
            mlp_norm=norm(of.mlp_norm),
        )

    return InferenceCore(tuple(map(block, core.blocks)))


def compiled(core: InferenceCore, kind: Kind) -> NativeCore:
    library = usable(kind)
    if library is None:
        pytest.skip(f"no compiled core here for {kind.name}")
    assert fits(core, kind)
    return pack(core, kind, library)


def assert_right(core: InferenceCore, kind: Kind, sequences: Sequences) -> None:
    width = len(core.blocks[0].attn_norm.weight)
    hidden = torch.randn(sum(sequences.lengths), width, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        exact = replace(
            sequences, scores=None if sequences.scores is None else sequences.scores.double()
        )
        wanted = doubled(core)(hidden.double(), exact)
        got = compiled(core, kind)(hidden, sequences)
    assert got.dtype is torch.float32
    assert (got - wanted).abs().max() <= BOUNDS[kind] * wanted.abs().max()


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("lengths", LENGTHS, ids=lambda lengths: "-".join(map(str, lengths[:4])))
def test_lengths(lengths: list[int], causal: bool, kind: Kind) -> None:
    assert_right(random_core(causal=causal), kind, Sequences.of(lengths))


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("placement", NormPlacement)
@pytest.mark.parametrize("activation", Activation)
def test_blocks(activation: Activation, placement: NormPlacement, kind: Kind) -> None:
    core = random_core(placement=placement, activation=activation, key_bias=False)
    assert_right(core, kind, Sequences.of([9, 9, 30]))


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("placement", NormPlacement)
@pytest.mark.parametrize(("width", "inner", "heads"), SHAPES)
def test_shapes(width: int, inner: int, heads: int, placement: NormPlacement, kind: Kind) -> None:
    core = random_core(width, inner, heads, placement=placement)
    assert_right(core, kind, Sequences.of([37, 12]))


def test_odd_widths_in_float32() -> None:
    assert_right(random_core(35, 27, 5), FLOAT32, Sequences.of([37, 12]))


@pytest.mark.parametrize("kind", [BFLOAT16, INT8])
def test_widths_that_fill_no_lane_are_left_to_torch(kind: Kind) -> None:
    assert not fits(random_core(35, 28, 5), kind)
    assert not fits(random_core(36, 27, 2), kind)
    assert not fits(random_core(36, 28, 12), kind), "heads of three numbers"


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("causal", [False, True])
def test_scores_of_keys(causal: bool, kind: Kind) -> None:
    scores = torch.randn(3, 40)
    scores[1, 30:] = float("-inf")
    assert_right(random_core(causal=causal), kind, Sequences.dense(3, 40, scores))


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_bits_beside_any_others_on_any_threads(threads: int, kind: Kind) -> None:
    core = compiled(random_core(), kind)
    lengths = [600, 128, 77, 33, 32, 31, 16, 14, 2, 1, *[5] * 50]
    hidden = torch.randn(sum(lengths), 48)
    alone = torch.cat([core(part, Sequences.of([len(part)])) for part in hidden.split(lengths)])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = core(hidden, Sequences.of(lengths))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(together, alone)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("placement", NormPlacement)
def test_rows_that_are_wanted_alone(placement: NormPlacement, kind: Kind) -> None:
    core, hidden = compiled(random_core(placement=placement), kind), torch.randn(60, 48)
    sequences = Sequences.of([30, 20, 10])
    every = core(hidden, sequences)
    few = torch.tensor([59, 0, 31, 31])
    for rows in (few, few.int(), torch.arange(60)[::7], torch.arange(200) % 60, few[:0]):
        assert torch.equal(core(hidden, sequences, None, rows), every[rows])


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("placement", NormPlacement)
def test_taps(placement: NormPlacement, kind: Kind) -> None:
    core = random_core(placement=placement)
    sequences, hidden = Sequences.of([9, 9, 4]), torch.randn(22, 48)
    wanted: Taps = {}
    got: Taps = {}
    with torch.inference_mode():
        doubled(core)(hidden.double(), sequences, wanted)
        found = compiled(core, kind)(hidden, sequences, got)
    assert list(got) == list(wanted)
    for name, state in wanted.items():
        assert (got[name] - state).abs().max() <= BOUNDS[kind] * state.abs().max(), name
    assert torch.equal(got["block.02.mlp"], sequences.padded(found))


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_none_stay_none(bad: float, kind: Kind) -> None:
    core, hidden = compiled(random_core(), kind), torch.randn(40, 48)
    hidden[25, 7] = bad
    found = core(hidden, Sequences.of([20, 20]))
    assert found[:20].isfinite().all()
    assert found[20:].isnan().any(-1).all()


@pytest.mark.parametrize("kind", Kind)
def test_inner_states_that_are_no_numbers_are_not_hidden(kind: Kind) -> None:
    core = random_core(depth=1, placement=PRE)
    up = core.blocks[0].mlp.up
    assert isinstance(up, Linear)
    assert up.bias is not None
    up.bias[3] = float("nan")
    found = compiled(core, kind)(torch.randn(40, 48), Sequences.of([40]))
    assert found.isnan().all()


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("placement", NormPlacement)
def test_states_beyond_what_a_norm_can_square(placement: NormPlacement, kind: Kind) -> None:
    core = random_core(depth=1, placement=placement)
    found = compiled(core, kind)(torch.randn(40, 48) * 1e30, Sequences.of([40]))
    assert found.isnan().any(-1).all()


@pytest.mark.parametrize("kind", Kind)
def test_no_rows(kind: Kind) -> None:
    core = compiled(random_core(), kind)
    assert core(torch.zeros(0, 48), Sequences.of([])).shape == (0, 48)
    assert core(torch.zeros(0, 48), Sequences.of([0])).shape == (0, 48)


def test_taps_of_some_rows() -> None:
    core = compiled(random_core(), FLOAT32)
    with pytest.raises(ValueError, match="leave out rows"):
        core(torch.zeros(4, 48), Sequences.of([4]), {}, torch.tensor([0]))


@pytest.mark.parametrize("loud", [1e3, 1e9, 1e12])
@pytest.mark.parametrize("kind", Kind)
def test_scores_beyond_the_range_of_an_exponential(kind: Kind, loud: float) -> None:
    core = random_core(depth=1)
    block = core.blocks[0]
    assert isinstance(block.attn.qkv, SeparateQKV)
    q = block.attn.qkv.q
    qkv = replace(block.attn.qkv, q=Linear(q.weight * loud, q.bias))
    core = InferenceCore((replace(block, attn=replace(block.attn, qkv=qkv)),))
    found = compiled(core, kind)(torch.randn(40, 48), Sequences.of([40]))
    assert found.isfinite().all()


@pytest.mark.parametrize("kind", Kind)
def test_hidden_states_of_another_type(kind: Kind) -> None:
    core, hidden = compiled(random_core(), kind), torch.randn(9, 48)
    halved = core(hidden.bfloat16(), Sequences.of([9]))
    assert halved.dtype is torch.bfloat16
    exact = core(hidden.bfloat16().float(), Sequences.of([9]))
    assert torch.equal(halved, exact.bfloat16())


@pytest.mark.parametrize("kind", Kind)
def test_states_that_lie_otherwise_in_memory(kind: Kind) -> None:
    core, hidden = compiled(random_core(), kind), torch.randn(48, 30).T
    sequences = Sequences.of([20, 10])
    assert torch.equal(core(hidden, sequences), core(hidden.contiguous(), sequences))


@pytest.mark.parametrize("placement", NormPlacement)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("width", "inner", "heads"), [*SHAPES, (35, 27, 5)])
def test_stored_weights_give_the_same_bits(
    width: int, inner: int, heads: int, causal: bool, placement: NormPlacement
) -> None:
    core = random_core(width, inner, heads, causal=causal, placement=placement, key_bias=False)
    packed, functions = compiled(core, FLOAT32), usable(FLOAT32)
    assert functions is not None
    stored = as_stored(core, functions)
    for lengths in ([1], [16], [17], [FEW], [5, 11], [9, 1, 12], [0]):
        hidden, sequences = torch.randn(sum(lengths), width), Sequences.of(lengths)
        taps: tuple[Taps, Taps] = ({}, {})
        found = [
            one(hidden, sequences, into) for one, into in zip((stored, packed), taps, strict=True)
        ]
        assert torch.equal(*found)
        assert all(torch.equal(taps[0][name], taps[1][name]) for name in taps[1])
        rows = torch.arange(min(3, len(hidden)))
        assert torch.equal(*(one(hidden, sequences, None, rows) for one in (stored, packed)))


def test_is_packed_block_by_block() -> None:
    compiled(random_core(depth=1), FLOAT32)
    library, released = usable(FLOAT32), []
    assert library is not None
    pack(random_core(depth=4), FLOAT32, library, lambda: released.append(1))
    assert len(released) == 4


def sizes() -> Sequence[int]:
    return [1, 13, 14, 15, 31, 32, 33, 1021, 1022, 1023, 2100]


@pytest.mark.parametrize("rows", sizes())
def test_any_number_of_rows(rows: int) -> None:
    assert_right(random_core(depth=1), FLOAT32, Sequences.of([1] * rows))


def test_the_answer_that_the_library_is_tried_against_is_the_formula() -> None:
    states = doubled(trial.sample_core())(trial.sample_states().double(), trial.SAMPLE)
    assert trial.told(states) == pytest.approx(trial.ANSWER, abs=1e-6)


def test_long_sums_round_no_worse_than_torch() -> None:
    """One after another they would be five times as far off here; they are added in blocks."""
    core, sequences = random_core(inner=16384, depth=1), Sequences.of([64])
    hidden = torch.randn(64, 48, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = doubled(core)(hidden.double(), sequences)
        ours = (compiled(core, FLOAT32)(hidden, sequences) - wanted).square().mean().sqrt()
        torchs = (core(hidden, sequences) - wanted).square().mean().sqrt()
    assert ours <= 1.5 * torchs

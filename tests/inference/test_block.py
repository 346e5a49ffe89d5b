"""The block against torch's own encoder layer, which shares no code with it."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from llm_compression.errors import BindError
from llm_compression.inference.activation import ACTIVATIONS
from llm_compression.inference.bind import bind_core, check_tensors
from llm_compression.inference.linear import LinearMap
from llm_compression.inference.packing import Packer, pack_linear
from llm_compression.inference.sequences import Sequences
from llm_compression.spec.block import Activation, BlockSpec, NormPlacement

PACK = Packer(pack_linear, pack_linear, lambda: None)
HIDDEN, HEADS, INNER, LAYERS = 24, 3, 40, 2
SOURCES = {
    "attn.o": "self_attn.out_proj",
    "attn_norm": "norm1",
    "mlp.up": "linear1",
    "mlp.down": "linear2",
    "mlp_norm": "norm2",
}


def reference(placement: NormPlacement) -> nn.TransformerEncoder:
    torch.manual_seed(1)
    layer = nn.TransformerEncoderLayer(
        HIDDEN, HEADS, INNER, dropout=0.0, activation="gelu", layer_norm_eps=1e-6,
        batch_first=True, norm_first=placement is NormPlacement.PRE,
    )  # fmt: skip
    stack = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False).eval()
    for parameter in stack.parameters():
        nn.init.normal_(parameter, std=0.3)
    return stack


def tensors(stack: nn.TransformerEncoder) -> dict[str, torch.Tensor]:
    found = {}
    for i, layer in enumerate(stack.layers):
        state = layer.state_dict()
        for part in ("weight", "bias"):
            q, k, v = state[f"self_attn.in_proj_{part}"].chunk(3)
            found |= {f"text.block.{i:02d}.attn.{n}.{part}": t for n, t in zip("qkv", (q, k, v))}  # noqa: B905
            for ours, theirs in SOURCES.items():
                found[f"text.block.{i:02d}.{ours}.{part}"] = state[f"{theirs}.{part}"]
    return found


def spec(placement: NormPlacement) -> BlockSpec:
    return BlockSpec(HIDDEN, HEADS, INNER, placement, 1e-6, Activation.GELU)


@pytest.mark.parametrize("placement", NormPlacement)
@pytest.mark.parametrize("lengths", [[7, 7, 7, 7], [7, 3, 1, 5], [5, 5, 2, 2]], ids=str)
@pytest.mark.parametrize("packed", [False, True])
def test_core_equals_torch(placement: NormPlacement, lengths: list[int], packed: bool) -> None:
    stack = reference(placement)
    core = bind_core(tensors(stack), "text", spec(placement), LAYERS)
    x = torch.randn(4, 7, HIDDEN)
    lengths = torch.tensor(lengths)
    real = torch.arange(7) < lengths[:, None]
    with torch.no_grad():
        wanted = stack(x, src_key_padding_mask=~real)
        core = PACK(core) if packed else core
        got = core(x[real], Sequences.of(lengths.tolist()))
    torch.testing.assert_close(got, wanted[real], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("placement", NormPlacement)
@pytest.mark.parametrize("packed", [False, True])
def test_the_last_block_does_no_more_than_is_wanted(placement: NormPlacement, packed: bool) -> None:
    core = bind_core(tensors(reference(placement)), "text", spec(placement), LAYERS)
    core = PACK(core) if packed else core
    seen: list[int] = []

    def counting(up: LinearMap) -> LinearMap:
        def run(x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
            seen.append(len(x))
            return up(x, residual)

        return run

    blocks = [replace(b, mlp=replace(b.mlp, up=counting(b.mlp.up))) for b in core.blocks]
    core = replace(core, blocks=tuple(blocks))
    x, sequences, rows = torch.randn(9, HIDDEN), Sequences.of([4, 5]), torch.tensor([3, 4])
    with torch.inference_mode():
        whole, wanted = core(x, sequences), core(x, sequences, None, rows)
    torch.testing.assert_close(wanted, whole[rows], atol=2e-6, rtol=1e-5)
    assert seen == [9, 9, 9, 2]


def test_taps_are_named_and_the_last_is_the_output() -> None:
    placement = NormPlacement.POST
    core = bind_core(tensors(reference(placement)), "text", spec(placement), LAYERS)
    taps: dict[str, torch.Tensor] = {}
    out = core(torch.randn(3, HIDDEN), Sequences.dense(1, 3), taps)
    assert list(taps) == ["block.00.attn", "block.00.mlp", "block.01.attn", "block.01.mlp"]
    assert torch.equal(taps["block.01.mlp"], out[None])


@pytest.mark.parametrize("activation", Activation)
def test_activation_equals_transformers(activation: Activation) -> None:
    from transformers.activations import ACT2FN

    x = torch.linspace(-12, 12, 4001)
    wanted = ACT2FN[activation.value](x)
    torch.testing.assert_close(ACTIVATIONS[activation](x), wanted, atol=1e-6, rtol=1e-6)


def test_binding_lists_every_problem() -> None:
    given = {"a": torch.zeros(2), "b": torch.zeros(3), "x": torch.zeros(1)}
    with pytest.raises(BindError) as caught:
        check_tensors(given, {"a": (2,), "b": (4,), "c": (1,)})
    for part in ("missing: c", "unexpected: x", "misshapen: b is [3], the spec asks for [4]"):
        assert part in str(caught.value)
    assert " a" not in str(caught.value).replace("asks", "")

"""Every way through attention beside the formula in float64."""

import pytest
import torch

from llm_compression.inference import attention as attention_module
from llm_compression.inference.attention import Attention, SeparateQKV
from llm_compression.inference.linear import Linear
from llm_compression.inference.packing import Packer, pack_linear
from llm_compression.inference.sequences import Sequences

PACK = Packer(pack_linear, pack_linear, lambda: None)
HEADS, SIZE = 3, 8
WIDTH = HEADS * SIZE


def attention(*, causal: bool = False) -> Attention:
    torch.manual_seed(0)
    q, k, v, o = (Linear(torch.randn(WIDTH, WIDTH) / 3, torch.randn(WIDTH)) for _ in range(4))
    return Attention(SeparateQKV(q, k, v), o, HEADS, causal, SIZE**-0.5)


def formula(of: Attention, x: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    """One sequence and one head at a time."""
    assert isinstance(of.qkv, SeparateQKV)
    found = []
    for part in x.double().split(lengths):
        maps = (of.qkv.q, of.qkv.k, of.qkv.v)
        q, k, v = (
            (part @ m.weight.double().T + m.bias.double()).view(-1, HEADS, SIZE).transpose(0, 1)
            for m in maps  # type: ignore[attr-defined]
        )
        scores = q @ k.transpose(1, 2) / SIZE**0.5
        if of.causal:
            scores = scores + torch.full(scores.shape[1:], float("-inf")).triu(1)
        found.append((scores.softmax(-1) @ v).transpose(0, 1).reshape(len(part), WIDTH))
    o = of.o
    return torch.cat(found) @ o.weight.double().T + o.bias.double()  # type: ignore[attr-defined]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "lengths",
    [[5], [40] * 2, [16] * 20, [14] * 20, [33] * 9, [1] * 300, [9, 3, 3, 600], [700] * 2],
    ids=lambda lengths: "-".join(map(str, lengths[:4])),
)
def test_is_the_formula(lengths: list[int], causal: bool, packed: bool) -> None:
    plain = attention(causal=causal)
    x = torch.randn(sum(lengths), WIDTH)
    residual = torch.randn(sum(lengths), WIDTH)
    wanted = formula(plain, x, lengths) + residual
    with torch.inference_mode():
        of = PACK._attention(plain) if packed else plain
        got = of(x, Sequences.of(lengths), residual)
    torch.testing.assert_close(got.double(), wanted, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("tokens", [14, 16])
def test_scores_beyond_the_range_of_an_exponential(tokens: int) -> None:
    plain = attention()
    x = 30 * torch.randn(20 * tokens, WIDTH)
    wanted = formula(plain, x, [tokens] * 20)
    with torch.inference_mode():
        got = plain(x, Sequences.dense(20, tokens), torch.zeros_like(x))
    torch.testing.assert_close(got.double(), wanted, atol=2e-2, rtol=1e-3)


def test_many_short_sequences_have_gradients() -> None:
    plain = attention()
    x = torch.randn(20 * 14, WIDTH, requires_grad=True)
    plain(x, Sequences.dense(20, 14), torch.zeros(len(x), WIDTH)).square().sum().backward()
    got, x.grad = x.grad, None
    formula(plain, x, [14] * 20).square().sum().backward()
    assert got is not None
    assert x.grad is not None
    torch.testing.assert_close(got, x.grad.float(), atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("lengths", [[14] * 20, [16] * 20, [600]], ids=["14", "16", "600"])
def test_bfloat16_goes_through_products(
    lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[int, ...]] = []
    products = attention_module._in_products
    monkeypatch.setattr(
        attention_module,
        "_in_products",
        lambda heads, scale: ran.append(tuple(heads.shape)) or products(heads, scale),
    )
    plain = attention()
    x = torch.randn(sum(lengths), WIDTH)
    wanted = formula(plain, x, lengths)
    with torch.inference_mode():
        halved = [Linear(m.weight.bfloat16(), m.bias.bfloat16()) for m in  # type: ignore[attr-defined]
                  (plain.qkv.q, plain.qkv.k, plain.qkv.v, plain.o)]  # type: ignore[attr-defined]  # fmt: skip
        of = Attention(SeparateQKV(*halved[:3]), halved[3], HEADS, causal=False, scale=plain.scale)
        got = of(x.bfloat16(), Sequences.of(lengths), torch.zeros(len(x), WIDTH).bfloat16())
    assert ran == [(3, len(lengths), HEADS, lengths[0], SIZE)]
    assert torch.cosine_similarity(got.double(), wanted, dim=1).min() > 0.999


def test_scores_are_added_to_keys_in_causal_attention_too() -> None:
    of = attention(causal=True)
    x, residual = torch.randn(6, WIDTH), torch.zeros(6, WIDTH)
    scores = torch.zeros(1, 6)
    scores[0, 2] = float("-inf")
    got = of(x, Sequences.dense(1, 6, scores), residual)
    kept = [0, 1, 3, 4, 5]
    wanted = of(x[kept], Sequences.dense(1, 5), residual[:5])
    torch.testing.assert_close(got[kept], wanted, atol=1e-5, rtol=1e-5)


def test_packing_twice_is_refused() -> None:
    packed = PACK._attention(attention())
    with pytest.raises(TypeError, match="packed already"):
        PACK._attention(packed)

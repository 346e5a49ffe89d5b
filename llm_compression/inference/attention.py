"""Multi-head self-attention over the rows of many sequences."""

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from llm_compression.inference.kernels import can_pack
from llm_compression.inference.linear import LinearMap
from llm_compression.inference.products import fast_products
from llm_compression.inference.sequences import Group, Sequences

_LONG = 512  # tokens from which the tiles of torch's attention are large enough for oneDNN
# On the CPU torch's attention takes each row of scores by itself, which costs more than the rows of
# short sequences are worth, and gains nothing from bfloat16; there whole products are faster.
_SHORT, _MANY = 32, 256  # tokens of a sequence at most, rows of a group at least
_CHUNK = 256  # queries of all heads whose scores stay in cache
_HALVED = 128  # tokens from which products in bfloat16 repay the conversion from float32


@dataclass(frozen=True, slots=True)
class SeparateQKV:
    """Queries, keys and values by three linear maps, as they are stored."""

    q: LinearMap
    k: LinearMap
    v: LinearMap

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """(N, D) -> (N, 3 D), queries first."""
        qkv = torch.cat([self.q(x), self.k(x), self.v(x)], dim=-1)
        return qkv if residual is None else qkv + residual


@dataclass(frozen=True, slots=True)
class Attention:
    """softmax(Q Kᵀ / √d) V over H heads; Vaswani et al. 2017, arXiv:1706.03762, eq. 1."""

    qkv: LinearMap  # D to 3 D
    o: LinearMap
    num_heads: int
    causal: bool
    scale: float  # 1 / √d, or 1 where the queries have it already
    # where linear maps round to 8 bits: products in bfloat16 lose little beside that, and they make
    # much of a last bit, so that each length goes one way however many sequences there are
    rounded: bool = False

    def __call__(
        self,
        x: torch.Tensor,
        sequences: Sequences,
        residual: torch.Tensor,
        rows: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(N, D) -> (N, D), ``residual`` (N, D) added; rows see those of their own sequence.

        Where only R ``rows`` are wanted, (R, D).
        """
        mixed = self._mixed_in_groups(self.qkv(x), sequences)
        if rows is not None:
            mixed, residual = mixed[rows], residual[rows]
        return self.o(mixed, residual)

    def _mixed_in_groups(self, qkv: torch.Tensor, sequences: Sequences) -> torch.Tensor:
        """(N, 3 D) -> (N, D)."""
        if len(sequences.groups) == 1:
            return self._mixed(qkv, sequences.groups[0], sequences.scores)
        parts = torch.split(qkv, [group.rows for group in sequences.groups])
        pairs = zip(parts, sequences.groups, strict=True)
        return torch.cat([self._mixed(part, group) for part, group in pairs])

    def _mixed(
        self, qkv: torch.Tensor, group: Group, scores: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(n T, 3 D) -> (n T, D) for the n sequences of a group."""
        heads = qkv.view(group.count, group.tokens, 3, self.num_heads, -1)
        heads = heads.permute(2, 0, 3, 1, 4)  # (3, n, H, T, d)
        if self._want_products(qkv, group, scores):
            halved = heads.bfloat16() if self.rounded else heads
            return _in_products(halved, self.scale).to(qkv.dtype)
        q, k, v = heads.unbind(0)
        long = group.tokens >= _LONG and qkv.is_cpu and qkv.dtype is torch.float32
        with fast_products() if long else nullcontext():
            mixed = F.scaled_dot_product_attention(
                *(q, k, v),
                attn_mask=self._added(scores),
                is_causal=self.causal and scores is None,
                scale=self.scale,
            )
        return mixed.transpose(1, 2).reshape(group.rows, -1)

    def _want_products(self, qkv: torch.Tensor, group: Group, scores: torch.Tensor | None) -> bool:
        # what they overwrite would be wanted for gradients
        free = scores is None and not self.causal and torch.is_inference_mode_enabled()
        if not free or not qkv.is_cpu:
            return False
        if self.rounded:
            return group.tokens >= _HALVED and can_pack(torch.bfloat16)
        gain = group.tokens <= _SHORT or qkv.dtype is torch.bfloat16
        return gain and group.rows >= _MANY

    def _added(self, scores: torch.Tensor | None) -> torch.Tensor | None:
        """What is added to the scores of every head, (n, 1, 1 or T, T); None for nothing."""
        if scores is None:
            return None
        keys = scores[:, None, None, :]
        if not self.causal:
            return keys
        tokens = scores.shape[1]
        return keys + keys.new_full((tokens, tokens), float("-inf")).triu(1)


def _in_products(heads: torch.Tensor, scale: float) -> torch.Tensor:
    """(3, n, H, T, d) of queries, keys and values -> (n T, D)."""
    _, count, num_heads, tokens, width = heads.shape
    q, k, v = heads.reshape(3, count * num_heads, tokens, width)  # (n H, T, d)
    q, keys = (q if scale == 1 else q * scale), k.transpose(1, 2)
    if tokens > _CHUNK:  # every part would bring them into this order
        keys = keys.contiguous()
    with fast_products() if heads.dtype is torch.float32 else nullcontext():
        parts = [_mean(v, torch.bmm(part, keys)) for part in torch.split(q, _CHUNK, dim=1)]
    mixed = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    return mixed.view(count, num_heads, tokens, width).transpose(1, 2).reshape(count * tokens, -1)


def _mean(values: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """softmax(``scores``) ``values``, in steps that run at full width whatever the length is.

    torch's softmax does what is left of a row beyond 16 numbers one by one.
    """
    tokens = scores.shape[-1]
    if tokens % 16 == 0 or tokens > _SHORT:
        return torch.bmm(scores.softmax(-1), values)
    powers = scores.sub_(scores.amax(-1, keepdim=True)).exp_()
    return torch.bmm(powers, values).div_(powers.sum(-1, keepdim=True))

"""Names, shapes and order of the tensors that a spec asks for."""

from dataclasses import replace

from llm_compression.spec.tensors import expected_tensors
from tests.spec.specs import MODEL, text

ONE_BLOCK = {
    "text.embeddings.token": (20, 8),
    "text.embeddings.position": (10, 8),
    "text.embeddings.type": (2, 8),
    "text.embeddings.norm.weight": (8,),
    "text.embeddings.norm.bias": (8,),
    "text.block.00.attn.q.weight": (8, 8),
    "text.block.00.attn.q.bias": (8,),
    "text.block.00.attn.k.weight": (8, 8),
    "text.block.00.attn.k.bias": (8,),
    "text.block.00.attn.v.weight": (8, 8),
    "text.block.00.attn.v.bias": (8,),
    "text.block.00.attn.o.weight": (8, 8),
    "text.block.00.attn.o.bias": (8,),
    "text.block.00.attn_norm.weight": (8,),
    "text.block.00.attn_norm.bias": (8,),
    "text.block.00.mlp.up.weight": (12, 8),
    "text.block.00.mlp.up.bias": (12,),
    "text.block.00.mlp.down.weight": (8, 12),
    "text.block.00.mlp.down.bias": (8,),
    "text.block.00.mlp_norm.weight": (8,),
    "text.block.00.mlp_norm.bias": (8,),
}


def names(**values: object) -> list[str]:
    return list(expected_tensors(replace(MODEL, text=text(**values))))


def test_one_block():
    assert list(expected_tensors(MODEL).items()) == list(ONE_BLOCK.items())


def test_blocks_are_numbered_with_two_digits_and_more_where_needed():
    found = names(num_layers=101)
    assert len(found) == 5 + 101 * 16
    assert [n for n in found if n.endswith("attn.q.bias")][9::45] == [
        "text.block.09.attn.q.bias",
        "text.block.54.attn.q.bias",
        "text.block.99.attn.q.bias",
    ]
    assert found[-1] == "text.block.100.mlp_norm.bias"


def test_without_token_types():
    assert set(ONE_BLOCK) - set(names(type_vocab_size=0)) == {"text.embeddings.type"}


def test_with_a_pooler():
    extra = dict(list(expected_tensors(replace(MODEL, text=text(pooler=True))).items())[21:])
    assert extra == {"text.pooler.weight": (8, 8), "text.pooler.bias": (8,)}

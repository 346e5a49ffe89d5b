"""Name maps as tables: every tensor of a checkpoint is renamed, or dropped with a reason."""

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Rename:
    """``source`` becomes ``target``; ``{i}`` stands for a block number in both."""

    source: str
    target: str


@dataclass(frozen=True)
class Drop:
    """``source`` is left out for ``reason``; ``{i}`` is a block number, a final ``*`` any rest."""

    source: str
    reason: str


Rule = Rename | Drop


def match(rule: Rule, name: str) -> re.Match[str] | None:
    """The match of a checkpoint's tensor ``name`` with the rule's source pattern."""
    pattern = re.escape(rule.source).replace(r"\{i\}", r"(?P<i>0|[1-9]\d*)").replace(r"\*", ".*")
    return re.fullmatch(pattern, name)


def target_name(rule: Rename, found: re.Match[str]) -> str:
    """The canonical name; block numbers are padded to two digits."""
    index = found.groupdict().get("i")
    return rule.target if index is None else rule.target.replace("{i}", f"{int(index):02d}")


def affine(source: str, target: str) -> list[Rule]:
    """The weight and the bias of one module."""
    return [Rename(f"{source}.{part}", f"{target}.{part}") for part in ("weight", "bias")]


def blocks(source: str, target: str, names: Mapping[str, str]) -> list[Rule]:
    """The modules of every block, ``names`` mapping theirs to ours."""
    return [
        rule
        for theirs, ours in names.items()
        for rule in affine(f"{source}layers.{{i}}.{theirs}", f"{target}.block.{{i}}.{ours}")
    ]

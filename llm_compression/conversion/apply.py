"""The one loop that applies a table of rules, strict on both sides."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from llm_compression.conversion.rules import Drop, Rule, match, target_name
from llm_compression.errors import CheckpointError
from llm_compression.spec.tensors import Shape
from llm_compression.weights.schema import Dropped


@dataclass(frozen=True)
class Plan:
    """Which source tensor becomes which canonical one, and what is left out."""

    sources: dict[str, str]  # canonical name -> source name, in file order
    dropped: tuple[Dropped, ...]


def make_plan(
    rules: Sequence[Rule], shapes: Mapping[str, Shape], expected: Mapping[str, Shape], where: str
) -> Plan:
    """Match every tensor of a checkpoint (``shapes``) with every ``expected`` one.

    Raises:
        CheckpointError: tensors are missing, left over, misshapen, or two became the same one;
            the message lists them all.
    """
    found: dict[str, list[str]] = {}
    dropped: list[Dropped] = []
    leftover: list[str] = []
    for source in shapes:
        rule, name = _first(rules, source)
        if isinstance(rule, Drop):
            dropped.append(Dropped(source, rule.reason))
        elif name is None or name not in expected:
            leftover.append(source)
        else:
            found.setdefault(name, []).append(source)
    problems = [f"not known to this architecture: {source}" for source in leftover]
    problems += _problems(found, shapes, expected)
    if problems:
        raise CheckpointError(_report(where, problems))
    return Plan({name: found[name][0] for name in expected}, tuple(dropped))


def _first(rules: Sequence[Rule], source: str) -> tuple[Rule | None, str | None]:
    for rule in rules:
        if found := match(rule, source):
            return rule, None if isinstance(rule, Drop) else target_name(rule, found)
    return None, None


def _problems(
    found: Mapping[str, list[str]], shapes: Mapping[str, Shape], expected: Mapping[str, Shape]
) -> Iterable[str]:
    for name, shape in expected.items():
        sources = found.get(name, [])
        if not sources:
            yield f"missing: {name} {list(shape)}"
        elif len(sources) > 1:
            yield f"duplicate: {' and '.join(sources)} both become {name}"
        elif tuple(shapes[sources[0]]) != shape:
            got = list(shapes[sources[0]])
            yield f"misshapen: {sources[0]} is {got}, config.json asks for {list(shape)}"


def _report(where: str, problems: list[str]) -> str:
    lines = "".join(f"\n  {problem}" for problem in problems)
    return (
        f"{where} does not fit its config.json in {len(problems)} tensors:{lines}\n"
        "Check that config.json and the weights belong together."
    )

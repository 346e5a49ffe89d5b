"""Zero-shot classes: one embedding for each class, from texts by templates."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llm_compression.errors import InputError
from llm_compression.files.atomic import atomic_write, output_errors
from llm_compression.files.paths import user_path
from llm_compression.multimodal.inputs import is_listed

TEMPLATE = "a photo of a {}."
_MODEL = b"llm_compression.model"


@dataclass(frozen=True, eq=False)
class ClassEmbeddings:
    """Names of classes and their embeddings (n, E) of unit length, by the model ``model``.

    ``model`` is a fingerprint; embeddings of another model are refused where they are used.
    """

    names: tuple[str, ...]
    embeddings: np.ndarray
    model: str

    def save(self, path: str | Path) -> None:
        """Write them to a Parquet file.

        Raises:
            OutputError: it cannot be written.
        """
        target = user_path(path)
        width = self.embeddings.shape[1]
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(self.embeddings.ravel()), width)
        table = pa.table({"name": list(self.names), "embedding": vectors})
        table = table.replace_schema_metadata({_MODEL: self.model.encode()})
        with output_errors(target), atomic_write(target) as draft:
            pq.write_table(table, draft.path)

    @classmethod
    def load(cls, path: str | Path) -> "ClassEmbeddings":
        """Read what `save` wrote.

        Raises:
            InputError: no such file, or it holds no class embeddings.
        """
        try:
            table = pq.read_table(user_path(path))
            model = (table.schema.metadata or {})[_MODEL].decode()
            names = check_classes(table["name"].to_pylist())
            embeddings = _rows(table["embedding"].combine_chunks())
        except (OSError, ValueError, KeyError) as error:  # Arrow's errors are ValueErrors
            raise InputError(f"{path} holds no class embeddings: {error}") from error
        return cls(names, embeddings, model)


def _rows(column: pa.Array) -> np.ndarray:
    """(n, width) finite float32.

    Raises:
        ValueError: the column holds something else.
    """
    kind = column.type
    if not pa.types.is_fixed_size_list(kind) or not pa.types.is_floating(kind.value_type):
        raise ValueError(f"embedding is {kind}, expected lists of floats of one size")
    values: np.ndarray = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    if column.null_count or not np.isfinite(values).all():
        raise ValueError("embedding has nulls, NaN or infinite values")
    return values.reshape(len(column), kind.list_size)


@dataclass(frozen=True)
class Match:
    """One of the candidates, by its place among the inputs, and its similarity."""

    index: int
    score: float


def check_classes(names: Sequence[str]) -> tuple[str, ...]:
    """Names of classes, at least one and none twice.

    Raises:
        InputError: they are not.
    """
    if isinstance(names, str) or not is_listed(names):
        raise InputError(f"class_texts is {names!r}; pass a list of class names")
    found = tuple(name.strip() if isinstance(name, str) else name for name in names)
    if not found:
        raise InputError("class_texts is empty; name at least one class")
    for i, name in enumerate(found):
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"class {i} is {name!r}; a class is named by a text")
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise InputError(f"class {twice[0]!r} is named twice; name each class once")
    return found


def check_templates(templates: str | Sequence[str]) -> list[str]:
    """Templates, each with one ``{}`` for the class.

    Raises:
        InputError: one has none.
    """
    if not is_listed(templates):
        raise InputError(f"templates is {templates!r}; pass a text with {{}} or a list of such")
    found = [templates] if isinstance(templates, str) else list(templates)
    if not found:
        raise InputError("templates is empty; the default is one template")
    for template in found:
        if not isinstance(template, str) or template.count("{}") != 1:
            raise InputError(f"template {template!r} needs one {{}} where the class stands")
    return found

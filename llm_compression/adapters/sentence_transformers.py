"""sentence-transformers: `SentenceTransformer`, in its place for the common uses."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llm_compression.adapters.arguments import as_array, inputs_of, refuse, with_owner
from llm_compression.adapters.opening import open_as
from llm_compression.engine.arrow_engine import ArrowEngine
from llm_compression.engine.output import cut, in_precision
from llm_compression.engine.prompts import Prompts
from llm_compression.errors import InputError
from llm_compression.inference.device import device_of
from llm_compression.metrics import similarity as scores
from llm_compression.metrics.similarity import unit_rows
from llm_compression.multimodal.inputs import as_texts, check_count
from llm_compression.multimodal.pretrained import Pretrained
from llm_compression.spec.model import Similarity

Output = np.ndarray | torch.Tensor | list[torch.Tensor]


class SentenceTransformer:
    """A text model with the methods, arguments and results of sentence-transformers 6.

    What an argument cannot mean here is refused, never ignored. Training and multi-process pools
    are left out, and a model stays on its device. The library itself is not needed.

    Args:
        model_name_or_path: a weight table, checkpoint folder or hub id, or an open `ArrowEngine`;
            an id without owner is one of ``sentence-transformers``.
        device: ``cpu``, ``cuda`` or ``cuda:N``; None is the cpu, or where an engine is open.
        prompts: by name, beside and before the model's own.
        default_prompt_name: of the prompt used unasked, by default the model's.
        cache_folder: huggingface_hub's cache.
        revision: of a hub id.
        local_files_only: never download.
        token: of huggingface_hub.
        similarity_fn_name: ``cosine``, ``dot``, ``euclidean`` or ``manhattan``; by default the
            model's.
        truncate_dim: keep the first dimensions only, not scaled to unit length again.
        others: arguments of the library that mean nothing here, at their defaults.

    Raises:
        InputError: an argument that means nothing here, a device that is not here, or a default
            prompt that is none.
    """

    def __init__(
        self,
        model_name_or_path: str | Path | ArrowEngine,
        *,
        device: str | torch.device | None = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        cache_folder: str | Path | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        similarity_fn_name: str | None = None,
        truncate_dim: int | None = None,
        **others: Any,
    ) -> None:
        refuse(others)
        is_open = isinstance(model_name_or_path, Pretrained)
        hub = {
            "device": None if is_open else device,
            "cache_dir": cache_folder,
            "revision": revision,
            "local_files_only": local_files_only,
            "token": token,
        }
        given = {name: value for name, value in hub.items() if value not in (None, False)}
        self.engine: ArrowEngine = open_as(ArrowEngine, with_owner(model_name_or_path), **given)
        self.to(device)
        stored = self.engine.prompt_texts
        self.prompts = {"query": "", "document": "", **stored.by_name, **(prompts or {})}
        self.default_prompt_name = default_prompt_name or stored.default
        Prompts(self.prompts, self.default_prompt_name).choose()  # which refuses an unknown name
        self.similarity_fn_name = similarity_fn_name or self.engine.similarity_fn_name
        self.truncate_dim = truncate_dim

    @property
    def similarity_fn_name(self) -> str:
        """The score that `similarity` gives; it can be set."""
        return self._similarity.value

    @similarity_fn_name.setter
    def similarity_fn_name(self, value: Any) -> None:
        names = [kind.value for kind in Similarity]
        name = getattr(value, "value", value)  # the library has an enum of its own
        if name not in names:
            raise InputError(f"similarity_fn_name {name!r} is not one of {', '.join(names)}")
        self._similarity = Similarity(name)

    @property
    def max_seq_length(self) -> int:
        """Tokens kept of a text, special tokens included; it can be set."""
        return self.engine.max_seq_length

    @max_seq_length.setter
    def max_seq_length(self, value: int) -> None:
        self.engine.max_seq_length = value

    def get_max_seq_length(self) -> int:
        """``max_seq_length``."""
        return self.max_seq_length

    def eval(self) -> "SentenceTransformer":
        """Itself: it never trains."""
        return self

    def to(self, device: str | torch.device | None) -> "SentenceTransformer":
        """Itself, on the device that it is on.

        Raises:
            InputError: another device.
        """
        if device is not None and device_of(device) != self.device:
            raise InputError(f"the model is on {self.device}; to have it elsewhere open it with "
                             f"device={str(device)!r}")  # fmt: skip
        return self

    @property
    def device(self) -> torch.device:
        """Where the model computes; results are on the host."""
        return self.engine.device

    def get_embedding_dimension(self) -> int:
        """Width of what `encode` gives."""
        width = self.engine.get_embedding_dimension()
        return width if self.truncate_dim is None else min(width, self.truncate_dim)

    get_sentence_embedding_dimension = get_embedding_dimension

    def encode(  # noqa: PLR0917 - the library's order
        self,
        inputs: Any = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,  # noqa: FBT001
        output_value: str = "sentence_embedding",
        precision: str = "float32",
        convert_to_numpy: bool = True,  # noqa: FBT001, FBT002
        convert_to_tensor: bool = False,  # noqa: FBT001, FBT002
        device: str | torch.device | None = None,
        normalize_embeddings: bool = False,  # noqa: FBT001, FBT002
        truncate_dim: int | None = None,
        **others: Any,
    ) -> Output:
        """Embeddings (n, d) of a sequence of texts, (d,) of one; no texts give (0, d).

        Args:
            inputs: a string or a sequence; the older name ``sentences`` is taken as well.
            prompt_name: a name in `prompts`, by default `default_prompt_name`.
            prompt: the text itself; it wins over ``prompt_name``.
            batch_size: texts run together.
            show_progress_bar: None shows one for long work on a terminal.
            output_value: ``sentence_embedding``, or ``token_embeddings`` for the last hidden
                states: a list of tensors (T, D), or one for a string.
            precision: ``float32 int8 uint8 binary ubinary``; the two scaled ones by the ranges of
                the inputs themselves.
            convert_to_numpy: an array; otherwise a list of tensors, or a tensor for a string.
            convert_to_tensor: one tensor; it wins over ``convert_to_numpy``.
            device: the model's own, or None for it.
            normalize_embeddings: unit length; models that normalise do so in any case.
            truncate_dim: overrides the constructor's.
            others: arguments of the library that mean nothing here, at their defaults.

        Raises:
            InputError: an input that is no text, or an argument that means nothing here.
        """
        inputs = inputs_of(inputs, others)
        refuse(others)
        self.to(device)
        before = Prompts(self.prompts, self.default_prompt_name).choose(prompt_name, prompt)
        if output_value != "sentence_embedding":
            asked = (precision != "float32", normalize_embeddings, truncate_dim, show_progress_bar)
            return self._tokens(inputs, before, batch_size, output_value, plain=not any(asked))
        found = self._embeddings(
            as_texts(inputs), before, batch_size, truncate_dim, show=show_progress_bar
        )
        found = unit_rows(found) if normalize_embeddings else found
        found = in_precision(
            found, precision, None, self.engine.fingerprint, normalized=normalize_embeddings
        )
        given = found if convert_to_numpy and not convert_to_tensor else torch.from_numpy(found)
        if isinstance(inputs, str):
            return given[0]
        return given if convert_to_numpy or convert_to_tensor else list(given)

    def encode_query(
        self,
        inputs: Any = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        *args: Any,
        **options: Any,
    ) -> Output:
        """`encode` with the prompt called ``query`` where none is given."""
        name = "query" if prompt is None and prompt_name is None else prompt_name
        return self.encode(inputs, name, prompt, *args, **options)

    def encode_document(
        self,
        inputs: Any = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        *args: Any,
        **options: Any,
    ) -> Output:
        """`encode` with the prompt called ``document`` where none is given."""
        name = "document" if prompt is None and prompt_name is None else prompt_name
        return self.encode(inputs, name, prompt, *args, **options)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """(n, d) and (m, d) arrays, tensors or lists of them -> (n, m) scores.

        Raises:
            InputError: embeddings of different widths, or no numbers.
        """
        pair = as_array(embeddings1), as_array(embeddings2)
        return torch.from_numpy(scores.similarity(self._similarity, *pair))

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """(n, d) and (n, d) -> (n,) scores of equal rows; raises likewise."""
        pair = as_array(embeddings1), as_array(embeddings2)
        return torch.from_numpy(scores.similarity_pairwise(self._similarity, *pair))

    @contextmanager
    def truncate_embeddings(self, truncate_dim: int | None) -> Iterator[None]:
        """Inside, `encode` keeps the first ``truncate_dim`` dimensions only, or all for None."""
        before, self.truncate_dim = self.truncate_dim, truncate_dim
        try:
            yield
        finally:
            self.truncate_dim = before

    def tokenize(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """``input_ids`` and ``attention_mask`` (n, T), cut to the maximum and padded alike."""
        ids = [torch.tensor(of_one, device="cpu") for of_one in self.engine.token_ids(texts)]
        tokenizer = self.engine.spec.tokenizer
        pad = tokenizer.pad_token_id if tokenizer else 0
        padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=pad)
        lengths = torch.tensor([len(of_one) for of_one in ids], device="cpu")
        mask = torch.arange(padded.shape[1], device="cpu") < lengths[:, None]
        return {"input_ids": padded, "attention_mask": mask.long()}

    def save_pretrained(self, path: str | Path) -> None:
        """Copy the weight table to ``path/model.parquet``, which opens again from ``path``.

        It is the model as it was converted, without prompts or lengths that were set here.

        Raises:
            OutputError: the folder cannot be made or written to.
        """
        self.engine.save_pretrained(path)

    def _embeddings(
        self,
        texts: list[str],
        before: str,
        batch_size: int,
        truncate_dim: int | None,
        *,
        show: bool | None,
    ) -> np.ndarray:
        """(n, d) as the model gives them, cut; not scaled again, as the library does not."""
        dim = self.truncate_dim if truncate_dim is None else truncate_dim
        full = self.engine.get_embedding_dimension()
        width = full if dim is None else check_count(dim, "truncate_dim", full)
        found = self.engine.encode(texts, None, before, batch_size, show_progress_bar=show)
        return cut(found, width, renormalize=False)

    def _tokens(
        self, inputs: Any, before: str, batch_size: int, output_value: object, *, plain: bool
    ) -> Output:
        """The last hidden states of each text, (T, D) with T its own tokens."""
        if output_value != "token_embeddings" or not plain:
            raise InputError(
                f"output_value is {output_value!r}; what can be had are sentence_embedding, and "
                "token_embeddings without precision, normalisation, truncate_dim or progress bar"
            )
        texts = [before + text for text in as_texts(inputs)]
        states = self.engine.sequence(texts, batch_size=batch_size)
        found = [torch.from_numpy(of_one) for of_one in states]
        return found[0] if isinstance(inputs, str) else found

"""ArrowEngine: sentences to embeddings, with the surface of sentence-transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from llm_compression.engine.output import cut, in_precision
from llm_compression.engine.prompts import Prompts
from llm_compression.metrics import similarity as scores
from llm_compression.metrics.quantization import EmbeddingRanges, check_precision
from llm_compression.multimodal.inputs import as_texts, check_count
from llm_compression.multimodal.text.encoder import TextEncoder

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from llm_compression.engine.options import EncodeOptions, OutputOptions


class ArrowEngine(TextEncoder):
    """One open model: its text tower with prompts, output precisions and similarity.

    Arguments are those of `TextEncoder`.
    """

    @property
    def prompt_texts(self) -> Prompts:
        """The model's prompts and which of them stands where."""
        return Prompts(self.embedding_spec.prompts, self.embedding_spec.default_prompt_name)

    @property
    def prompts(self) -> dict[str, str]:
        """The model's prompts by name."""
        return dict(self.embedding_spec.prompts)

    @property
    def similarity_fn_name(self) -> str:
        """The score that `similarity` gives."""
        return self.embedding_spec.similarity.value

    def encode(
        self,
        inputs: str | Sequence[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        *,
        show_progress_bar: bool | None = None,
        precision: str = "float32",
        normalize_embeddings: bool | None = None,
        truncate_dim: int | None = None,
        ranges: EmbeddingRanges | None = None,
        truncation: str | None = None,
    ) -> np.ndarray:
        """Embeddings of texts: (n, d) for a sequence, (d,) for one string.

        Args:
            inputs: a string or a sequence of strings; an empty one gives (0, d).
            prompt_name: a name in `prompts`, whose text is put in front of every input; by
                default the model's default prompt, if it has one.
            prompt: the text itself; it wins over ``prompt_name``.
            batch_size: texts run together at most; None lets their tokens decide. They are sorted
                by length first, and put back; none is padded.
            show_progress_bar: None shows one for long work on a terminal.
            precision: what comes out: ``float32``; ``int8`` or ``uint8``, scaled by ``ranges``;
                ``binary`` or ``ubinary``, eight signs a byte (int8 or uint8), ceil(d / 8) wide.
            normalize_embeddings: None follows the model; true or false overrides it.
            truncate_dim: keep the first dimensions only; what was of unit length is again.
            ranges: from `calibrate`. Without them ``int8`` and ``uint8`` scale by the inputs
                themselves, and two calls cannot be compared.
            truncation: overrides the constructor's.

        Raises:
            InputError: an input that is no text, or an option out of range.
            TruncationError: a text is too long and truncation is ``error``.
        """
        check_precision(precision)
        full = self.get_embedding_dimension()
        width = full if truncate_dim is None else check_count(truncate_dim, "truncate_dim", full)
        before = self.prompt_texts.choose(prompt_name, prompt)
        unit = self.embedding_spec.normalize
        unit = unit if normalize_embeddings is None else normalize_embeddings
        embeddings = super().encode(
            [before + text if isinstance(text, str) else text for text in as_texts(inputs)],
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            normalize_embeddings=unit,
            truncation=truncation,
        )
        embeddings = cut(embeddings, width, renormalize=unit)
        given = in_precision(embeddings, precision, ranges, self.fingerprint, normalized=unit)
        return given[0] if isinstance(inputs, str) else given

    def encode_query(
        self,
        inputs: str | Sequence[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        **options: Unpack[OutputOptions],
    ) -> np.ndarray:
        """`encode` with the model's ``query`` prompt, or none if it has no such prompt."""
        if prompt is None and prompt_name is None:
            prompt = self.prompt_texts.query
        return self.encode(inputs, prompt_name, prompt, batch_size, **options)

    def encode_document(
        self,
        inputs: str | Sequence[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        **options: Unpack[OutputOptions],
    ) -> np.ndarray:
        """`encode` with the model's ``document``, ``passage`` or ``corpus`` prompt, or none."""
        if prompt is None and prompt_name is None:
            prompt = self.prompt_texts.document
        return self.encode(inputs, prompt_name, prompt, batch_size, **options)

    def calibrate(self, inputs: Sequence[str], **options: Unpack[EncodeOptions]) -> EmbeddingRanges:
        """Ranges for ``int8`` and ``uint8`` from two texts or more."""
        stated = options.get("normalize_embeddings")
        unit = self.embedding_spec.normalize if stated is None else stated
        found = self.encode(as_texts(inputs), **options)
        return EmbeddingRanges.of(found, self.fingerprint, normalized=unit)

    def similarity(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """(n, d) and (m, d) embeddings -> (n, m) scores by the model's own similarity.

        Raises:
            InputError: strings (use `similarity_texts`), or embeddings of different widths.
        """
        return scores.similarity(self.embedding_spec.similarity, a, b)

    def similarity_pairwise(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """(n, d) and (n, d) embeddings -> (n,) scores of equal rows."""
        return scores.similarity_pairwise(self.embedding_spec.similarity, a, b)

    def similarity_texts(self, a: str | Sequence[str], b: str | Sequence[str]) -> np.ndarray:
        """N and m texts -> (n, m) scores."""
        return self.similarity(self.encode(a), self.encode(b))

"""ArrowEngine: sentences to embeddings, with the surface of sentence-transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llm_compression.engine.batching import batches, with_progress
from llm_compression.engine.inputs import as_texts, check_count
from llm_compression.engine.open import MODEL_FILE, locate, save, table_at
from llm_compression.engine.options import EngineOptions
from llm_compression.engine.output import cut, in_precision
from llm_compression.engine.prompts import Prompts
from llm_compression.engine.truncation import Truncation, report_truncation
from llm_compression.errors import InputError
from llm_compression.files.paths import user_path
from llm_compression.inference.taps import Taps
from llm_compression.metrics import similarity as scores
from llm_compression.metrics.quantization import EmbeddingRanges, check_precision
from llm_compression.multimodal.text_encoder import TextEncoder
from llm_compression.multimodal.tokenizer import Tokens
from llm_compression.spec.model import ModelSpec
from llm_compression.weights.loader import WeightLoader
from llm_compression.weights.schema import FileRole

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from llm_compression.engine.options import EncodeOptions, OutputOptions


class ArrowEngine:
    """One open model.

    Args:
        model_path: a weight table, or a folder with ``model.parquet``.
        compute_dtype: what the core computes in, ``float32`` or ``bfloat16``. What is stored
            (``dtype``) and what `encode` gives out (``precision``) are separate.
        mapped: open the memory-mapped copy, made on first use; otherwise decode the Parquet file.
        verify: check every weight against its checksum, decoded or mapped.
        max_seq_length: tokens kept of a text, by default the model's own maximum.
        truncation: ``warn``, ``error`` or ``ok``, for texts beyond that maximum.
        deterministic: run every text alone, so that it has the same bits in any batch; otherwise
            float32 rounding, at most 1e-6 in any dimension of a unit vector. Slower.

    Raises:
        WeightTableError: a kind that says what is wrong with the file.
    """

    def __init__(
        self,
        model_path: str | Path,
        *,
        compute_dtype: str = "float32",
        mapped: bool = True,
        verify: bool = True,
        max_seq_length: int | None = None,
        truncation: str = "warn",
        deterministic: bool = False,
    ) -> None:
        self._options: EngineOptions = {
            "compute_dtype": compute_dtype,
            "mapped": mapped,
            "verify": verify,
            "max_seq_length": max_seq_length,
            "truncation": truncation,
            "deterministic": deterministic,
        }
        loader = WeightLoader(
            table_at(model_path), mapped=mapped, check_mapped=verify, verify=verify
        )
        if max_seq_length is not None:
            check_count(max_seq_length, "max_seq_length", loader.spec.text.max_tokens)
        self.path = loader.table.path
        self.fingerprint = loader.fingerprint
        self.deterministic = deterministic
        self.compute_dtype = compute_dtype
        stored = loader.spec.embedding
        self.prompt_texts = Prompts(stored.prompts, stored.default_prompt_name)
        self._truncation = Truncation.of(truncation)
        self._encoder = TextEncoder(
            loader.spec,
            loader.load_weights(),
            loader.table.read_role(FileRole.TOKENIZER),
            compute_dtype=compute_dtype,
            max_seq_length=max_seq_length,
        )

    def __repr__(self) -> str:
        return f"ArrowEngine({str(self.path)!r}, {self.spec.dimension} x {self.compute_dtype})"

    def __reduce__(self) -> tuple[object, ...]:
        # the path, not the weights: each process maps the same pages
        return _reopen, (self.path.resolve(), self.fingerprint, self._options)

    @classmethod
    def from_pretrained(
        cls,
        id_or_path: str | Path,
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        **options: Unpack[EngineOptions],
    ) -> ArrowEngine:
        """Open a weight table, a checkpoint folder or a hub id; checkpoints convert once.

        A local path never touches the network. ``revision``, ``cache_dir``, ``local_files_only``
        and ``token`` are huggingface_hub's; ``options`` are the constructor's.

        Raises:
            CheckpointNotFoundError: nothing of that name here or on the hub.
            ConversionError: the checkpoint cannot be converted.
        """
        path = locate(
            id_or_path,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            token=token,
        )
        return cls(path, **options)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Copy the weight table to ``folder/model.parquet`` and return that path.

        Raises:
            OutputError: the folder cannot be made or written to.
            WeightTableError: the table was damaged or replaced since it was opened.
        """
        return save(self.path, self.fingerprint, user_path(folder) / MODEL_FILE)

    @property
    def spec(self) -> ModelSpec:
        """The model."""
        return self._encoder.spec

    @property
    def max_seq_length(self) -> int:
        """Tokens kept of a text, special tokens included; it can be set, as anywhere else."""
        return self._encoder.tokenizer.max_length

    @max_seq_length.setter
    def max_seq_length(self, value: int) -> None:
        most = self.spec.text.max_tokens
        self._encoder.tokenizer.max_length = check_count(value, "max_seq_length", most)
        self._options["max_seq_length"] = self.max_seq_length

    @property
    def prompts(self) -> dict[str, str]:
        """The model's prompts by name."""
        return dict(self.spec.embedding.prompts)

    @property
    def similarity_fn_name(self) -> str:
        """The score that `similarity` gives."""
        return self.spec.embedding.similarity.value

    def get_embedding_dimension(self) -> int:
        """Width of an embedding before ``truncate_dim`` and bit packing."""
        return self.spec.dimension

    def token_counts(self, inputs: Sequence[str]) -> list[int]:
        """Tokens of each text, special ones included, before any truncation."""
        return [tokens.count for tokens in self._encoder.tokenizer.encode(as_texts(inputs))]

    def token_ids(self, inputs: Sequence[str]) -> list[list[int]]:
        """Token ids of each text as the core sees them, special tokens included, cut to length."""
        return [tokens.ids for tokens in self._encoder.tokenizer.encode(as_texts(inputs))]

    def encode(
        self,
        inputs: str | Sequence[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
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
            batch_size: texts run together; they are sorted by length first, and put back.
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
        full = self.spec.dimension
        width = full if truncate_dim is None else check_count(truncate_dim, "truncate_dim", full)
        check_count(batch_size, "batch_size")
        mode = self._truncation if truncation is None else Truncation.of(truncation)
        before = self.prompt_texts.choose(prompt_name, prompt)
        texts = [before + text if isinstance(text, str) else text for text in as_texts(inputs)]
        tokens = self._encoder.tokenizer.encode(texts)
        report_truncation(tokens, mode, self.max_seq_length)
        unit = self.spec.embedding.normalize
        unit = unit if normalize_embeddings is None else normalize_embeddings
        embeddings = self._embed(tokens, batch_size, normalized=unit, show=show_progress_bar)
        embeddings = cut(embeddings, width, renormalize=unit)
        given = in_precision(embeddings, precision, ranges, self.fingerprint)
        return given[0] if isinstance(inputs, str) else given

    def encode_query(
        self,
        inputs: str | Sequence[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
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
        batch_size: int = 32,
        **options: Unpack[OutputOptions],
    ) -> np.ndarray:
        """`encode` with the model's ``document``, ``passage`` or ``corpus`` prompt, or none."""
        if prompt is None and prompt_name is None:
            prompt = self.prompt_texts.document
        return self.encode(inputs, prompt_name, prompt, batch_size, **options)

    def calibrate(self, inputs: Sequence[str], **options: Unpack[EncodeOptions]) -> EmbeddingRanges:
        """Ranges for ``int8`` and ``uint8`` from two texts or more."""
        return EmbeddingRanges.of(self.encode(as_texts(inputs), **options), self.fingerprint)

    def similarity(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """(n, d) and (m, d) embeddings -> (n, m) scores by the model's own similarity.

        Raises:
            InputError: strings (use `similarity_texts`), or embeddings of different widths.
        """
        return scores.similarity(self.spec.embedding.similarity, a, b)

    def similarity_pairwise(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """(n, d) and (n, d) embeddings -> (n,) scores of equal rows."""
        return scores.similarity_pairwise(self.spec.embedding.similarity, a, b)

    def similarity_texts(self, a: str | Sequence[str], b: str | Sequence[str]) -> np.ndarray:
        """N and m texts -> (n, m) scores."""
        return self.similarity(self.encode(a), self.encode(b))

    def taps(self, inputs: str | Sequence[str]) -> dict[str, np.ndarray]:
        """Every named intermediate of one padded batch, float32, as `validate` compares them.

        ``embeddings``, ``block.00.attn``, ``block.00.mlp`` and so on are (B, T, D); ``pooled``
        and ``embedding`` are (B, E).
        """
        taps: Taps = {}
        tokens = self._encoder.tokenizer.encode(as_texts(inputs))
        check_count(len(tokens), "the number of texts")
        report_truncation(tokens, self._truncation, self.max_seq_length)
        self._encoder.embed(tokens, normalized=self.spec.embedding.normalize, taps=taps)
        return {name: value.float().numpy() for name, value in taps.items()}

    def _embed(
        self, tokens: list[Tokens], batch_size: int, *, normalized: bool, show: bool | None
    ) -> np.ndarray:
        embeddings = np.empty((len(tokens), self.spec.dimension), np.float32)
        work = batches(tokens, 1 if self.deterministic else batch_size)
        for batch in with_progress(work, len(tokens), "text", show=show):
            rows = [tokens[i] for i in batch]
            embeddings[batch] = self._encoder.embed(rows, normalized=normalized)
        return embeddings


def _reopen(path: Path, fingerprint: str, options: EngineOptions) -> ArrowEngine:
    engine = ArrowEngine(path, **options)
    if engine.fingerprint != fingerprint:
        raise InputError(f"{path} holds another model than when the engine was pickled")
    return engine

"""TextEncoder: texts to embeddings by the text tower of any model."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from llm_compression.errors import InputError
from llm_compression.inference.bind import Tensors
from llm_compression.inference.compute import Compute
from llm_compression.inference.device import fetched
from llm_compression.inference.taps import Taps
from llm_compression.multimodal.batching import batch_tokens, batches, with_progress
from llm_compression.multimodal.encoded import Encoded
from llm_compression.multimodal.inputs import as_texts, check_count, check_flags
from llm_compression.multimodal.parallel import batches_at_once, come_out_even, side_by_side
from llm_compression.multimodal.pretrained import Device, ModelPath, Pretrained
from llm_compression.multimodal.text.model import TextModel, text_parts
from llm_compression.multimodal.text.tokenizer import TextTokenizer, Tokens
from llm_compression.multimodal.text.truncation import Truncation, report_truncation
from llm_compression.multimodal.trainable import Trainable
from llm_compression.spec.model import EmbeddingSpec
from llm_compression.spec.tensors import text_tensors
from llm_compression.weights.mapped import MappedCopy
from llm_compression.weights.reader import WeightTable
from llm_compression.weights.schema import FileRole


class TextEncoder(Pretrained):
    """The text tower of an open model.

    Args:
        model_path: a weight table, a folder with ``model.parquet``, or an open `WeightLoader`.
        compute_dtype: what the core computes in: ``float32``, ``bfloat16``, on a GPU ``float16``,
            on the CPU ``int8``, whose products are of factors rounded to 8 bits, everything else
            float32. What is stored (``dtype``) and what an engine gives out (``precision``) are
            separate.
        mapped: open the memory-mapped copy, made on first use; otherwise decode the Parquet file.
        verify: check every weight against its checksum, decoded or mapped.
        packed: on first use copy the weights into the order in which this processor reads them,
            and let the mapped ones go; otherwise compute on those in place, which is slower.
        device: ``cpu``, ``cuda`` or ``cuda:N``, or a ``torch.device``. On a GPU the weights are
            copied there on first use, and ``packed`` has no meaning.
        max_seq_length: tokens kept of a text, by default the model's own maximum.
        truncation: ``warn``, ``error`` or ``ok``, for texts beyond that maximum.
        deterministic: run every text alone, so that it has the same bits in any batch; otherwise
            they differ by rounding, in float32 by at most 1e-6 in any dimension of a unit vector.
            Slower.

    Raises:
        WeightTableError: a kind that says what is wrong with the file.
        InputError: the model has no text tower, or an option cannot be.
    """

    def __init__(
        self,
        model_path: ModelPath,
        *,
        compute_dtype: str = "float32",
        mapped: bool = True,
        verify: bool = True,
        packed: bool = True,
        device: Device = "cpu",
        max_seq_length: int | None = None,
        truncation: str = "warn",
        deterministic: bool = False,
    ) -> None:
        super().__init__(
            model_path,
            mapped=mapped,
            verify=verify,
            packed=packed,
            compute_dtype=compute_dtype,
            device=device,
            meanwhile=self._read_tokenizer,
            max_seq_length=max_seq_length,
            truncation=truncation,
            deterministic=deterministic,
        )
        text, _, stored = text_parts(self.spec)
        if max_seq_length is not None:
            check_count(max_seq_length, "max_seq_length", text.max_tokens)
        self._tokenizer.max_length = max_seq_length or stored.max_seq_length
        check_flags(deterministic=deterministic)
        self.deterministic = deterministic
        self._truncation = Truncation.of(truncation)
        weights = self._loader.load_weights(text_tensors(text))
        self._model = TextModel(self.spec, weights, self._compute)

    def _read_tokenizer(self, table: WeightTable, copy: MappedCopy | None) -> None:
        _, tokenizer, stored = text_parts(table.manifest.spec)
        content = (copy and copy.tokenizer) or table.read_role(FileRole.TOKENIZER)
        try:
            self._tokenizer = TextTokenizer(content, tokenizer, stored.max_seq_length)
        except InputError as error:
            raise InputError(f"{table.path}: {error}; convert the checkpoint again") from error

    @property
    def embedding_spec(self) -> EmbeddingSpec:
        """Pooling, normalisation, prompts and similarity of the model's text embeddings."""
        return self._model.embedding

    @property
    def max_seq_length(self) -> int:
        """Tokens kept of a text, special tokens included; it can be set, as anywhere else."""
        return self._tokenizer.max_length

    @max_seq_length.setter
    def max_seq_length(self, value: int) -> None:
        most = self._model.spec.max_tokens
        self._tokenizer.max_length = check_count(value, "max_seq_length", most)
        self._options["max_seq_length"] = self.max_seq_length

    def get_embedding_dimension(self) -> int:
        """Width E of an embedding."""
        return self._model.spec.dimension

    def token_counts(self, inputs: Sequence[str]) -> list[int]:
        """Tokens of each text, special ones included, before any truncation."""
        return [tokens.count for tokens in self._tokenizer.encode(as_texts(inputs))]

    def token_ids(self, inputs: Sequence[str]) -> list[list[int]]:
        """Token ids of each text as the core sees them, special tokens included, cut to length."""
        return [tokens.ids for tokens in self._tokenizer.encode(as_texts(inputs))]

    def encode(
        self,
        inputs: str | Sequence[str],
        *,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        normalize_embeddings: bool | None = None,
        truncation: str | None = None,
    ) -> np.ndarray:
        """Embeddings of texts, projected where the model projects: (n, E), or (E,) for a string.

        ``normalize_embeddings`` None follows the model. ``ArrowEngine.encode`` says what the
        other arguments do.

        Raises:
            InputError: an input that is no text, or an option out of range.
            TruncationError: a text is too long and truncation is ``error``.
        """
        tokens = self._tokens(inputs, truncation)
        unit = self.embedding_spec.normalize
        unit = unit if normalize_embeddings is None else normalize_embeddings
        check_flags(normalize_embeddings=unit)
        found = self.embed_tokens(
            tokens, normalize=unit, batch_size=batch_size, show=show_progress_bar
        )
        return found[0] if isinstance(inputs, str) else found

    def embed_tokens(
        self,
        tokens: Sequence[Tokens],
        *,
        normalize: bool,
        batch_size: int | None = None,
        show: bool | None = None,
    ) -> np.ndarray:
        """Embeddings (n, E) of what the tokenizer has made of n texts."""
        found = np.empty((len(tokens), self.get_embedding_dimension()), np.float32)
        for rows, encoded in self._run(tokens, batch_size, normalized=normalize, show=show):
            found[rows] = fetched(encoded.embedding)
        return found

    def pooled(self, inputs: str | Sequence[str], *, batch_size: int | None = None) -> np.ndarray:
        """Pooled hidden states before projection: (n, D), or (D,) for a string; as `encode`."""
        tokens = self._tokens(inputs, None)
        found = np.empty((len(tokens), self._model.spec.block.hidden_size), np.float32)
        for rows, encoded in self._run(tokens, batch_size):
            found[rows] = fetched(encoded.pooled)
        return found[0] if isinstance(inputs, str) else found

    def sequence(self, inputs: Sequence[str], *, batch_size: int | None = None) -> list[np.ndarray]:
        """The last hidden states of each text, (T, D) with T its own tokens; as `encode`."""
        found: dict[int, np.ndarray] = {}
        for rows, encoded in self._run(self._tokens(inputs, None), batch_size, whole=True):
            ends = np.cumsum(encoded.sequences.lengths)
            states = np.split(fetched(encoded.hidden), ends[:-1])
            found |= dict(zip(rows, states, strict=True))
        return [found[row] for row in range(len(found))]

    def trainable(self, train: str | Sequence[str] = ()) -> Trainable:
        """The tower for training: texts in, `Encoded` out, of which gradients can be taken.

        ``train`` are patterns of weight names, see `Trainable`; embeddings are normalised where
        the model's are.
        """

        def bind(tensors: Tensors) -> Callable[[object], Encoded]:
            model = TextModel(self.spec, tensors, Compute(gradients=True))
            unit = self.embedding_spec.normalize
            return lambda inputs: model(self._tokens(as_texts(inputs), None), normalized=unit)

        return Trainable(self._loader.load_weights(text_tensors(self._model.spec)), bind, train)

    def taps(self, inputs: str | Sequence[str]) -> dict[str, np.ndarray]:
        """Every named intermediate of one batch, float32, as `validate` compares them.

        ``embeddings``, ``block.00.attn``, ``block.00.mlp`` and so on are (B, T, D) with zeros
        behind the shorter texts; ``pooled`` is (B, D) and ``embedding`` (B, E).
        """
        taps: Taps = {}
        tokens = self._tokens(inputs, None)
        check_count(len(tokens), "the number of texts")
        self._model(tokens, normalized=self.embedding_spec.normalize, taps=taps)
        return {name: fetched(value) for name, value in taps.items()}

    def _tokens(self, inputs: str | Sequence[str], truncation: str | None) -> list[Tokens]:
        mode = self._truncation if truncation is None else Truncation.of(truncation)
        tokens = self._tokenizer.encode(as_texts(inputs))
        report_truncation(tokens, mode, self.max_seq_length)
        return tokens

    def _run(
        self,
        tokens: Sequence[Tokens],
        batch_size: int | None,
        *,
        normalized: bool = False,
        whole: bool = False,
        show: bool | None = None,
    ) -> Iterator[tuple[list[int], Encoded]]:
        """Batches of texts of like length, each with its rows."""
        if batch_size is not None:
            check_count(batch_size, "batch_size")
        at_once = 1 if self.deterministic else batches_at_once(self.device)
        most = batch_tokens(self.device)
        work = batches(tokens, 1 if self.deterministic else batch_size, most, at_once)
        sizes = [sum(len(tokens[i].ids) for i in rows) for rows in work]

        def run(rows: list[int]) -> Encoded:
            batch = [tokens[i] for i in rows]
            return self._model(batch, normalized=normalized, whole=whole)

        if work:
            self._model.prepare()
        at_once = at_once if come_out_even(sizes, at_once) else 1
        done = side_by_side(run, work, at_once)
        yield from with_progress(done, len(tokens), "text", show=show, size=lambda one: len(one[0]))

"""Every error this package raises on purpose, as one tree.

LLMCompressionError
├── SpecError                    a model spec that is not valid
├── WeightTableError             a weight table that cannot be used
│   ├── WeightTableNotFoundError    nothing is there
│   ├── NotAWeightTableError        something else is there
│   ├── UnsupportedVersionError     written by a newer release
│   ├── CorruptWeightTableError     bytes differ from those written
│   └── TensorNotFoundError         no tensor or file of that name inside
├── ConversionError              a checkpoint that cannot become a weight table
│   ├── CheckpointNotFoundError     no such folder or hub id
│   ├── CheckpointError             its contents contradict each other
│   └── UnknownArchitectureError    a family or variant that is not supported
├── OutputError                  a file that cannot be written
├── TargetBusyError              another process is writing the same file
├── InputError                   what was passed in cannot be embedded
│   ├── TruncationError             a text longer than the model's maximum
│   ├── IdentityMismatchError       vectors that were made in different ways
│   └── ModalityUnavailableError    a modality for which there is no model
├── StorageError                 stored vectors that cannot be used
│   ├── StorageNotFoundError        nothing is stored there
│   ├── DuplicateIdError            an id that is stored already, or twice in one batch
│   ├── UnknownIdError              an id that is not stored
│   └── DamagedStorageError         bytes differ from those that were written
├── BindError                    tensors and spec do not fit each other
├── ParityError                  a model that cannot be compared with its reference
└── MissingDependencyError       an optional package that is not installed

A message names what, where, and what to do next.
"""


class LLMCompressionError(Exception):
    """Root of every error raised on purpose by this package."""


class SpecError(LLMCompressionError, ValueError):
    """A model spec has an unknown key, a missing key or a value out of range."""


class WeightTableError(LLMCompressionError):
    """A weight table cannot be used."""


class WeightTableNotFoundError(WeightTableError, FileNotFoundError):
    """No weight table exists at the path."""


class NotAWeightTableError(WeightTableError, ValueError):
    """The file is not Parquet, or is Parquet without a model inside."""


class UnsupportedVersionError(WeightTableError):
    """The file follows a version of the format that this release does not know."""


class CorruptWeightTableError(WeightTableError):
    """Bytes of the file differ from those that were written."""


class TensorNotFoundError(WeightTableError, KeyError):
    """The weight table holds no tensor or file of this name."""

    def __str__(self) -> str:  # KeyError would print the message's repr
        return str(self.args[0]) if self.args else ""


class ConversionError(LLMCompressionError):
    """A checkpoint cannot become a weight table."""


class CheckpointNotFoundError(ConversionError, FileNotFoundError):
    """The folder or hub id holds no checkpoint."""


class CheckpointError(ConversionError, ValueError):
    """The checkpoint's files contradict each other or the architecture."""


class UnknownArchitectureError(ConversionError, ValueError):
    """The checkpoint belongs to a family or variant that is not supported."""


class OutputError(LLMCompressionError, OSError):
    """A file cannot be written."""


class TargetBusyError(LLMCompressionError):
    """Another process is writing the same file at this moment."""


class InputError(LLMCompressionError, ValueError):
    """An input cannot be embedded."""


class TruncationError(InputError):
    """A text is longer than the model's maximum and truncation is not allowed."""


class IdentityMismatchError(InputError):
    """Vectors that were made in different ways cannot stand side by side."""


class ModalityUnavailableError(InputError):
    """There is no model for this modality."""


class StorageError(LLMCompressionError):
    """Stored vectors cannot be used."""


class StorageNotFoundError(StorageError, FileNotFoundError):
    """Nothing is stored at the path."""


class DuplicateIdError(StorageError, ValueError):
    """An id is stored already, or stands twice in one batch."""


class UnknownIdError(StorageError, KeyError):
    """No row of this id is stored."""

    def __str__(self) -> str:  # KeyError would print the message's repr
        return str(self.args[0]) if self.args else ""


class DamagedStorageError(StorageError):
    """Bytes of stored vectors differ from those that were written."""


class BindError(LLMCompressionError, ValueError):
    """Tensors and spec do not fit each other."""


class ParityError(LLMCompressionError):
    """A model cannot be compared with the reference it was given."""


class MissingDependencyError(LLMCompressionError, ImportError):
    """An optional package is not installed."""

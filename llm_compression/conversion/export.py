"""export: a weight table back to the Hugging Face folder that it came from."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file

from llm_compression.errors import ConversionError, OutputError
from llm_compression.files.atomic import atomic_folder, output_errors
from llm_compression.files.paths import user_path
from llm_compression.weights.loader import WeightLoader
from llm_compression.weights.schema import FileRole


def export(model: str | Path, folder: str | Path) -> Path:
    """Write ``model.safetensors`` under the source's tensor names, and the attached files.

    The tensors are those of the table to the bit, and transformers loads the folder. It appears
    under its name only when it is whole.

    Raises:
        ConversionError: the folder exists and is not empty, or two files want one name.
        OutputError: the folder cannot be written.
        TargetBusyError: another process is exporting to it.
        WeightTableError: the model cannot be read.
    """
    target = user_path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConversionError(f"{target} exists and is not an empty folder; choose another path")
    loader = WeightLoader(model)
    with output_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with atomic_folder(target) as draft:
                _write(loader, draft)
        except SafetensorError as error:  # how it reports a full disk
            raise OutputError(f"cannot write {target}: {error}; free space there") from error
    return target


def _write(loader: WeightLoader, folder: Path) -> None:
    manifest = loader.table.manifest
    quantised = [entry.name for entry in manifest.tensors if entry.quantization]
    if quantised:
        raise ConversionError(
            f"{loader.table.path} is quantised ({quantised[0]}); transformers cannot load it"
        )
    tensors = loader.load_weights()
    named = {entry.source: tensors[entry.name] for entry in manifest.tensors}
    # old sentence-transformers keep weights and tokenizer together in a folder below
    tokenizers = [file.name for file in manifest.files if file.role is FileRole.TOKENIZER]
    weights = folder / Path(tokenizers[0]).parent if tokenizers else folder
    weights.mkdir(parents=True, exist_ok=True)
    save_file(named, weights / "model.safetensors", metadata={"format": "pt"})
    for file in manifest.files:
        path = folder / file.name
        if path.exists():
            raise ConversionError(
                f"{loader.table.path} attaches {file.name}, which is a file of the export itself"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(loader.table.read_file(file.name))

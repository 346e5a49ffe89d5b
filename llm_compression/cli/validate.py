"""``validate``: compare every tap of a model with transformers on its checkpoint."""

import argparse
from pathlib import Path

from llm_compression.cli.engines import add_device
from llm_compression.errors import InputError
from llm_compression.spec.names import COMPUTE_DTYPES, TOWERS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", nargs="?", help="weight table")
    parser.add_argument(
        "--model",
        "--arrow-model",
        "--vision-model",
        "--audio-model",
        dest="named",
        metavar="MODEL",
        help="the model, as an option",
    )
    parser.add_argument(
        "--reference",
        "--hf-model",
        help="checkpoint folder or hub id; default: the hub id that the model came from",
    )
    parser.add_argument("--tower", choices=TOWERS, help="one of the towers; default: all")
    parser.add_argument("--texts", help="file with one text a line; default: a varied sample")
    parser.add_argument(
        "--images", nargs="+", metavar="PATH", help="files or folders; default: a varied sample"
    )
    parser.add_argument(
        "--audio",
        nargs="+",
        metavar="PATH",
        help="sound files or folders, of which the first 30 s count; default: synthetic sounds",
    )
    parser.add_argument(
        "--samples",
        "--num-images",
        type=int,
        help="use the first of the texts, images and sounds only",
    )
    parser.add_argument(
        "--compute-dtype",
        default="float32",
        choices=COMPUTE_DTYPES,
        help="what the core computes in; float16 on GPUs, int8 on the CPU alone",
    )
    add_device(parser)
    parser.add_argument("--absolute", type=float, help="bound on the absolute error of any tap")
    parser.add_argument(
        "--cosine", "--threshold", type=float, help="bound on the cosine of any vector"
    )
    parser.add_argument("--json", metavar="FILE", help="write the report there as well")


def run(arguments: argparse.Namespace) -> int:
    """Print the table; status 1 when a bound is broken."""
    if bool(arguments.model) == bool(arguments.named):
        arguments.usage_error("give MODEL once, by position or as --model")
    from dataclasses import replace

    from llm_compression.cli.media import image_files, sound_files
    from llm_compression.cli.outputs import keep_inputs
    from llm_compression.cli.texts import read_lines
    from llm_compression.validation.samples import SAMPLE_TEXTS, sample_images, sample_sounds
    from llm_compression.validation.tolerance import tolerance_of
    from llm_compression.validation.validate import validate
    from llm_compression.weights.reader import WeightTable

    if arguments.samples is not None and arguments.samples < 1:
        raise InputError(f"--samples is {arguments.samples}; it must be at least 1")
    model = arguments.model or arguments.named
    read = (*(arguments.images or ()), *(arguments.audio or ()))
    keep_inputs(arguments.json, model, arguments.texts, *read)
    spec = WeightTable(model).manifest.spec
    bounds = tolerance_of(spec.family, arguments.compute_dtype)
    given = {"absolute": arguments.absolute, "cosine": arguments.cosine}
    bounds = replace(bounds, **{name: x for name, x in given.items() if x is not None})
    for option, tower in (("texts", "text"), ("images", "vision"), ("audio", "audio")):
        if getattr(arguments, option) and getattr(spec, tower) is None:
            raise InputError(f"--{option} is given, but {model} has no {tower} tower")
    texts = read_lines(Path(arguments.texts)) if arguments.texts else SAMPLE_TEXTS
    images = image_files(arguments.images) if arguments.images else sample_images()
    sounds = sound_files(arguments.audio) if arguments.audio else sample_sounds()
    report = validate(
        model,
        arguments.reference or _origin(model),
        texts=texts[: arguments.samples],
        images=images[: arguments.samples],
        sounds=sounds[: arguments.samples],
        tower=arguments.tower,
        compute_dtype=arguments.compute_dtype,
        device=arguments.device,
        tolerance=bounds,
    )
    print(report.to_table())
    if arguments.json:
        _write(Path(arguments.json), report.to_json())
    return 0 if report.passed else 1


def _origin(model: str) -> str:
    from llm_compression.weights.reader import WeightTable

    origin = WeightTable(model).manifest.provenance
    if origin.revision is None:
        raise InputError(
            f"{model} was made from a local folder, {origin.source}; give it as --reference"
        )
    return origin.source


def _write(path: Path, report: str) -> None:
    from llm_compression.files.atomic import atomic_write, output_errors

    with output_errors(path), atomic_write(path) as draft:
        draft.path.write_text(report + "\n", encoding="utf-8")

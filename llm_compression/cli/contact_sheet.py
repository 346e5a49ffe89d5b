"""A contact sheet: found images with their scores, as a picture or as a page."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llm_compression.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

_THUMB, _LINE, _GAP, _COLUMNS = 224, 18, 12, 4
_ENDINGS = (".png", ".html")
_MOST_ON_PICTURE = 400
Found = Sequence[tuple[float, str]]  # score and path, best first


def check_sheet(path: Path) -> None:
    """Refuse a sheet of an unknown kind before anything is searched.

    Raises:
        InputError: the path ends neither in .png nor in .html.
    """
    if path.suffix.lower() not in _ENDINGS:
        raise InputError(f"{path}: a contact sheet ends in .png or .html")


def write_sheet(path: Path, query: str, found: Found) -> None:
    """Write the sheet to ``path``.

    Raises:
        InputError: too many images for one picture.
        OutputError: it cannot be written.
    """
    from llm_compression.files.atomic import atomic_write, output_errors

    if path.suffix.lower() == ".png" and len(found) > _MOST_ON_PICTURE:
        raise InputError(
            f"{len(found)} images are too many for a picture, which holds {_MOST_ON_PICTURE}; "
            "write an .html"
        )
    with output_errors(path), atomic_write(path) as draft:
        if path.suffix.lower() == ".html":
            draft.path.write_text(_page(query, found), encoding="utf-8")
        else:
            _picture(query, found).save(draft.path, format="PNG")


def _thumbnail(path: str) -> "Image":
    from llm_compression.multimodal.vision.input import open_rgb

    image = open_rgb(path, path)
    image.thumbnail((_THUMB, _THUMB))
    return image


def _page(query: str, found: Found) -> str:
    figures = "\n".join(_figure(rank, *match) for rank, match in enumerate(found, start=1))
    title = html.escape(query)
    return f"""<!doctype html>
<html><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 14px sans-serif; margin: 24px; }}
main {{ display: flex; flex-wrap: wrap; gap: {_GAP}px; }}
figure {{ margin: 0; width: {_THUMB}px; }}
figcaption {{ overflow-wrap: anywhere; }}
</style></head><body><h1>{title}</h1><main>
{figures}
</main></body></html>
"""


def _figure(rank: int, score: float, path: str) -> str:
    held = io.BytesIO()
    _thumbnail(path).save(held, format="JPEG", quality=85)
    content = base64.b64encode(held.getvalue()).decode()
    name = html.escape(path)
    return (
        f'<figure><img alt="{name}" src="data:image/jpeg;base64,{content}">'
        f"<figcaption>{rank}. {score:.4f} {name}</figcaption></figure>"
    )


def _picture(query: str, found: Found) -> "Image":
    from PIL import Image, ImageDraw

    rows = -(-len(found) // _COLUMNS)
    width, height = _THUMB + _GAP, _THUMB + 2 * _LINE + _GAP
    size = (_COLUMNS * width + _GAP, rows * height + _LINE + 2 * _GAP)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    _write(draw, (_GAP, _GAP), query)
    for place, (score, path) in enumerate(found):
        left = _GAP + place % _COLUMNS * width
        top = 2 * _GAP + _LINE + place // _COLUMNS * height
        sheet.paste(_thumbnail(path), (left, top))
        _write(draw, (left, top + _THUMB), f"{place + 1}. {score:.4f}")
        _write(draw, (left, top + _THUMB + _LINE), Path(path).name[-32:])
    return sheet


def _write(draw: object, place: tuple[int, int], text: str) -> None:
    """Text in Pillow's own font, letters that it lacks left out as question marks."""
    shown = text.encode("latin-1", "replace").decode("latin-1")
    draw.text(place, shown, fill="black")  # type: ignore[attr-defined]

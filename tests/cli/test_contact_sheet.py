"""Contact sheets: the right pictures in the right order, upright, whole, and nothing but text."""

import base64
import errno
import io
import os
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llm_compression.cli.contact_sheet import check_sheet, write_sheet
from llm_compression.engine.clip_engine import CLIPEngine
from llm_compression.errors import InputError, OutputError
from tests.cli.conftest import Cli
from tests.cli.picture_files import names, write_pictures
from tests.multimodal.pictures import BLUE, GREEN, RED, encoded, plain, turned

Found = list[tuple[float, str]]
SIDE, STEP, DOWN, LEFT, TOP = 224, 236, 272, 12, 42  # of a thumbnail, and from one to the next


class Page(HTMLParser):
    """What a page shows."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.images += [dict(attrs)] if tag == "img" else []

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.tags[-1] if self.tags else "", []).append(data.strip())

    def pictures(self) -> list[Image.Image]:
        """The images, which are inside the page."""
        contents = [str(image["src"]).split(",", 1) for image in self.images]
        assert {start for start, _ in contents} == {"data:image/jpeg;base64"}
        return [Image.open(io.BytesIO(base64.b64decode(content))) for _, content in contents]


@pytest.fixture
def found(tmp_path: Path) -> Found:
    """A red, a green and a blue picture."""
    matches = []
    for place, (name, colour) in enumerate([("red", RED), ("green", GREEN), ("blue", BLUE)]):
        path = tmp_path / f"{name}.png"
        plain(colour, "RGB", 300, 200).save(path)
        matches.append((0.5 - 0.125 * place, str(path)))
    return matches


def thumbnails(sheet: Path, count: int) -> list[np.ndarray]:
    """The places of ``count`` thumbnails, (224, 224, 3) each."""
    with Image.open(sheet) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        pixels = np.asarray(image)
    assert pixels.shape[:2] == (TOP + DOWN * -(-count // 4), 4 * STEP + LEFT)
    corners = [(TOP + i // 4 * DOWN, LEFT + i % 4 * STEP) for i in range(count)]
    return [pixels[top : top + SIDE, left : left + SIDE] for top, left in corners]


def near(pixels: np.ndarray, colour: tuple[int, ...]) -> bool:
    return bool(np.abs(pixels.astype(int) - colour).max() < 16)  # JPEG


def test_a_page(found: Found, tmp_path: Path):
    write_sheet(tmp_path / "found.html", "a red picture", found)
    page = Page(tmp_path / "found.html")
    assert page.tags[0] == "html"
    assert page.texts["title"] == page.texts["h1"] == ["a red picture"]
    assert [image["alt"] for image in page.images] == [path for _, path in found]
    captions = [text for text in page.texts["figcaption"] if text]
    assert captions == [
        f"{rank}. {score:.4f} {path}" for rank, (score, path) in enumerate(found, start=1)
    ]
    for image, colour in zip(page.pictures(), [RED, GREEN, BLUE], strict=True):
        assert image.size == (224, 149)
        assert near(np.asarray(image), colour)


def test_a_picture(found: Found, tmp_path: Path):
    write_sheet(tmp_path / "found.png", "a red picture", found)
    for pixels, colour in zip(
        thumbnails(tmp_path / "found.png", 3), [RED, GREEN, BLUE], strict=True
    ):
        assert (pixels[:149] == colour).all()
        assert (pixels[149:] == 255).all()


def test_words_in_the_picture(found: Found, tmp_path: Path):
    """The query on top; below each thumbnail its score and its name."""
    sheets = []
    for place, (query, score) in enumerate([("a cat", 0.5), ("a dog", 0.5), ("a cat", 0.25)]):
        write_sheet(tmp_path / f"{place}.png", query, [(score, found[0][1])])
        sheets.append(np.asarray(Image.open(tmp_path / f"{place}.png")).astype(int))
    cat, dog, other = sheets
    assert (cat[:TOP] != dog[:TOP]).any()
    assert (cat[TOP:] == dog[TOP:]).all()
    assert (cat[:TOP] == other[:TOP]).all()
    below = TOP + SIDE
    assert (cat[below : below + 18] != other[below : below + 18]).any()
    assert (cat[below + 18 : below + 36] < 128).any()
    assert (cat[below + 18 :] == other[below + 18 :]).all()


@pytest.mark.parametrize("count", [1, 4, 5, 9])
def test_rows_of_four(count: int, found: Found, tmp_path: Path):
    matches = [found[place % 3] for place in range(count)]
    write_sheet(tmp_path / "found.png", "colours", matches)
    for place, pixels in enumerate(thumbnails(tmp_path / "found.png", count)):
        assert (pixels[:149] == [RED, GREEN, BLUE][place % 3]).all()


@pytest.mark.parametrize("ending", ["html", "png"])
def test_pictures_as_the_model_sees_them(ending: str, tmp_path: Path):
    """Turned upright, transparency on white, no larger than they are, strips included."""
    wide = plain(RED, "RGB", 60, 30)
    wide.paste(BLUE, (30, 0, 60, 30))
    contents = {"turned": turned(wide, 6), "clear": encoded(plain((1, 2, 3, 0), "RGBA", 60, 30)),
                "strip": encoded(plain(GREEN, "RGB", 2, 3000))}  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    sheet = tmp_path / f"found.{ending}"
    write_sheet(sheet, "odd", [(0.5, str(tmp_path / name)) for name in contents])
    turn, clear, strip = (
        [np.asarray(image) for image in Page(sheet).pictures()]
        if ending == "html"
        else [pixels[:60, :30] for pixels in thumbnails(sheet, 3)]
    )
    assert turn.shape[:2] == (60, 30)
    assert near(turn[:24], RED)
    assert near(turn[36:], BLUE)
    assert near(clear, (255, 255, 255))
    assert near(strip[:20, :1], GREEN)


HOSTILE = '<script>alert("1")</script> & \'more\' "quotes"'


def test_a_page_holds_no_markup_of_others(tmp_path: Path):
    """A file name or a query is text, whatever it says."""
    path = tmp_path / f"{HOSTILE.replace('/', '')}.png"
    plain(RED).save(path)
    write_sheet(tmp_path / "found.html", HOSTILE, [(0.5, str(path))])
    page = Page(tmp_path / "found.html")
    assert "script" not in page.tags
    assert page.images[0]["alt"] == str(path)
    assert page.texts["title"] == page.texts["h1"] == [HOSTILE]
    assert f"1. 0.5000 {path}" in page.texts["figcaption"]
    assert set(page.images[0]) == {"alt", "src"}


@pytest.mark.parametrize("query", ["", "ein Vogel über dem Fluß", "猫 🙂", "two\nlines", "x" * 999])
@pytest.mark.parametrize("ending", ["html", "png"])
def test_any_query(query: str, ending: str, found: Found, tmp_path: Path):
    sheet = tmp_path / f"found.{ending}"
    write_sheet(sheet, query, found)
    if ending == "html":
        assert "".join(Page(sheet).texts.get("title", [])) == query
    else:
        assert (thumbnails(sheet, 3)[0][:100] == RED).all()


@pytest.mark.parametrize("name", ["found.PNG", "found.Html", "a.b.png"])
def test_endings_in_any_case(name: str, found: Found, tmp_path: Path):
    check_sheet(tmp_path / name)
    write_sheet(tmp_path / name, "a query", found)
    start = (tmp_path / name).read_bytes()[:4]
    assert start == (b"<!do" if name == "found.Html" else b"\x89PNG")


@pytest.mark.parametrize(
    "name", ["found.jpg", "found.htm", "found", "png", ".png", "found.png.txt"]
)
def test_no_contact_sheet(name: str):
    with pytest.raises(InputError, match="a contact sheet ends in"):
        check_sheet(Path(name))


@pytest.mark.parametrize("ending", ["html", "png"])
def test_what_cannot_be_made_leaves_what_was_there(ending: str, found: Found, tmp_path: Path):
    sheet = tmp_path / "out" / f"found.{ending}"
    with pytest.raises(OutputError, match=f"cannot write .*found.{ending}: No such file"):
        write_sheet(sheet, "a query", found)
    sheet.parent.mkdir()
    sheet.write_text("an older sheet")
    Path(found[1][1]).unlink()
    with pytest.raises(InputError, match="no image file at"):
        write_sheet(sheet, "a query", found)
    assert sheet.read_text() == "an older sheet"
    assert [path.name for path in sheet.parent.iterdir()] == [sheet.name]


def test_too_many_for_a_picture(found: Found, tmp_path: Path):
    many = [found[0]] * 401
    with pytest.raises(InputError, match="401 images are too many for a picture, which holds 400"):
        write_sheet(tmp_path / "found.png", "a query", many)
    write_sheet(tmp_path / "found.html", "a query", many)
    assert len(Page(tmp_path / "found.html").images) == 401


def test_a_full_disk_leaves_what_was_there(
    found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def save(_: Image.Image, path: Path, **__: object) -> None:
        path.write_bytes(b"half of")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "found.png").write_text("an older sheet")
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(OutputError, match="No space left on device"):
        write_sheet(tmp_path / "found.png", "a query", found)
    assert (tmp_path / "found.png").read_text() == "an older sheet"
    assert sorted(tmp_path.iterdir()) == before


# From the command line

QUERY = "a photo of a red cat"


@pytest.mark.parametrize("corpus", ["images", "vectors"])
def test_search_shows_what_it_found(corpus: str, cli: Cli, tiny_clip_table: Path, tmp_path: Path):
    folder, vectors = write_pictures(tmp_path / "pictures"), tmp_path / "vectors.parquet"
    cli("embed", tiny_clip_table, "--images", folder, "-o", vectors)
    given = ["--images", folder] if corpus == "images" else ["--in", vectors]
    files = names(folder)
    (matches,) = CLIPEngine(tiny_clip_table).find_best_matches([QUERY], files, top_k=3)
    for sheet in (tmp_path / "found.html", tmp_path / "found.png"):
        outcome = cli("search", tiny_clip_table, QUERY, *given, "--top-k", 3, "--sheet", sheet)
        assert (outcome.status, outcome.err) == (0, "")
        assert len(outcome.out.splitlines()) == 3
    page = Page(tmp_path / "found.html")
    assert [image["alt"] for image in page.images] == [files[match.index] for match in matches]
    assert page.texts["h1"] == [QUERY]
    assert len(thumbnails(tmp_path / "found.png", 3)) == 3


def test_a_sheet_is_of_images(cli: Cli, tiny_clip_table: Path, tmp_path: Path):
    texts, sheet = tmp_path / "texts.txt", tmp_path / "found.html"
    texts.write_text("a cat\n")
    message = cli("search", tiny_clip_table, QUERY, "--in", texts, "--sheet", sheet).error(2)
    assert message.startswith("--sheet shows images; search with --images")
    assert not sheet.exists()


def test_a_sheet_that_cannot_be_made(cli: Cli, tiny_clip_table: Path, tmp_path: Path):
    folder, vectors = write_pictures(tmp_path / "pictures"), tmp_path / "vectors.parquet"
    nowhere, sheet = tmp_path / "no folder" / "found.png", tmp_path / "found.png"
    outcome = cli("search", tiny_clip_table, QUERY, "--images", folder, "--sheet", nowhere)
    assert outcome.status == 1
    assert f"cannot write {nowhere}" in outcome.err
    cli("embed", tiny_clip_table, "--images", folder, "-o", vectors)
    Path(names(folder)[0]).unlink()
    outcome = cli("search", tiny_clip_table, QUERY, "--in", vectors, "--sheet", sheet)
    assert outcome.status == 2
    assert f"no image file at {names(folder)[0]}" in outcome.err
    assert not sheet.exists()

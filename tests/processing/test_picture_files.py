"""Only pictures are opened, and every file that is none is named."""

import io
import os
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from auss.processing.picture_files import is_stored_picture, open_picture, open_stored_picture

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
EPS = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
    b"(/tmp/auss-was-here) (w) file closefile showpage\n%%EOF\n"
)


def encoded(form: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, form, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "JPEG", "GIF"])
def test_pictures_are_opened_whatever_they_are_called(tmp_path, form):
    options = {"lossless": True} if form == "WEBP" else {}
    path = tmp_path / "picture.dat"
    path.write_bytes(encoded(form, **options))
    for source in (path, str(path), path.read_bytes()):
        picture = open_picture(source, "the file")
        assert picture.size == (12, 8) and picture.filename == "the file"
        if form not in ("JPEG", "GIF"):
            np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), PIXELS)


@pytest.mark.parametrize("name", ["frame.png", "frame.eps"])
def test_eps_content_starts_no_program(tmp_path, monkeypatch, name):
    def fail(*_, **__):
        pytest.fail("a program was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", fail)
    monkeypatch.setattr(subprocess, "Popen", fail)
    path = tmp_path / name
    path.write_bytes(EPS)
    for source in (path, EPS):
        with pytest.raises(ValueError, match="the frame is not a picture: it is none of PNG, JPEG"):
            open_picture(source, "the frame")


def test_damaged_empty_and_huge_files_are_named(tmp_path):
    cases = {
        b"": "is empty",
        b"no picture": "is not a picture",
        encoded()[: len(encoded()) // 2]: "cannot be decoded",
        encoded("JPEG")[:300]: "cannot be decoded|is not a picture",
        png_header(30_000, 30_000): "is too large: Image size .*decompression bomb",
        png_header(100, 100): "cannot be decoded",
    }
    for content, message in cases.items():
        (tmp_path / "a.png").write_bytes(content)
        for source in (tmp_path / "a.png", content):
            with pytest.raises(ValueError, match=f"^frame a.png ({message})"):
                open_picture(source, "frame a.png")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # what Pillow says of a TIFF's damage
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_any_damage_gives_a_picture_or_a_named_error():
    """Bytes of PNG, TIFF, GIF and WebP files are overwritten; whatever the decoder raises becomes a ValueError."""
    rng = np.random.default_rng(3)
    opened = refused = 0
    for form in ("PNG", "TIFF", "GIF", "WEBP", "JPEG", "BMP", "PPM"):
        whole = encoded(form)
        for _ in range(25):
            content = bytearray(whole)
            for place in rng.integers(0, min(len(content), 120), 4):
                content[place] = rng.integers(256)
            try:
                opened += open_picture(bytes(content), "x.png").width > 0
            except ValueError as error:
                refused += str(error).startswith("x.png ")
    assert opened + refused == 7 * 25 and refused > 20


def test_what_is_no_file_is_not_waited_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.png does not exist"):
        open_picture(tmp_path / "a.png", "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", tmp_path):
        with pytest.raises(ValueError, match="it is no file"):
            open_picture(path, "it")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    # The inverse of what each value says: 6 is a picture stored a quarter to the left of upright, and so on.
    stored = {
        1: PIXELS,
        2: PIXELS[:, ::-1],
        3: PIXELS[::-1, ::-1],
        4: PIXELS[::-1],
        5: PIXELS.transpose(1, 0, 2),
        6: np.rot90(PIXELS),
        7: PIXELS[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(PIXELS, -1),
    }[orientation]
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(stored)).save(file, "PNG", exif=exif)
    np.testing.assert_array_equal(np.asarray(open_picture(file.getvalue(), "it")), PIXELS)


def test_of_an_animation_the_first_picture_is_taken():
    frames = [Image.new("RGB", (5, 5), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    for form in ("GIF", "WEBP", "PNG"):
        file = io.BytesIO()
        frames[0].save(file, form, save_all=True, append_images=frames[1:])
        picture = open_picture(file.getvalue(), "it")
        assert picture.n_frames == 2 and picture.convert("RGB").getpixel((2, 2))[0] > 200


def test_no_other_file_opens_pictures_of_any_format():
    import auss

    root = Path(auss.__file__).parent
    sources = [path for path in root.rglob("*.py") if path.relative_to(root).parts[0] not in ("tests", ".venv")]
    calls = [
        (path.name, line)
        for path in sources
        for line in path.read_text(encoding="utf-8").splitlines()
        if "Image.open(" in line and "formats=PICTURE_FORMATS" not in line
    ]
    assert len(sources) > 100 and calls == []


def test_stored_pictures_of_a_column(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded())
    for value in (
        {"path": str(tmp_path / "a.png"), "bytes": None},
        {"path": None, "bytes": encoded()},
        {"path": "elsewhere.png", "bytes": np.frombuffer(encoded(), np.uint8)},
    ):
        assert is_stored_picture(value)
        np.testing.assert_array_equal(np.asarray(open_stored_picture(value)), PIXELS)
    assert not is_stored_picture({"path": None, "bytes": None}) and not is_stored_picture("a.png")
    with pytest.raises(ValueError, match=r"frame file b\.png is empty"):
        open_stored_picture({"path": "b.png", "bytes": b""}, "frame file")

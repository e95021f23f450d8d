"""Only pictures are opened. For every other file, the error names the file."""

import io
import os
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image

from auss.processing.pictures import is_stored_picture, on_the_scale, open_picture, open_stored_picture, to_eight_bits
from auss.processing.video_frames import clip_to_tensor, pil_to_rgb
from auss.processing.video_processing_auss import AussVideoProcessor

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


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow warns of a damaged TIFF
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_any_damage_gives_a_picture_or_a_named_error():
    """The test overwrites bytes of PNG, TIFF, GIF and WebP files. Each error of a decoder must become a ValueError."""
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
    # Each stored picture is turned by the inverse of its orientation. With 6, it is stored a quarter turn to the left.
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
        if "Image.open(" in line and "formats=" not in line
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


LEVELS = np.linspace(0, 65_535, 48).reshape(6, 8).astype(np.uint16)
EXPECTED = LEVELS / 257
# One grey level after normalisation. Resizing rounds frames of 8 bits twice, once for each direction.
ROUNDING = 1 / 255 / 0.224


@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_a_grey_picture_of_16_bits_is_scaled(order):
    picture = Image.fromarray(LEVELS.astype(order))
    file = io.BytesIO()
    picture.save(file, "PNG" if order == "<u2" else "TIFF")
    for image in (picture, Image.open(file)):
        assert image.mode.startswith("I;16")
        assert np.abs(np.asarray(to_eight_bits(image)) - EXPECTED).max() <= 0.5
        assert np.abs(pil_to_rgb(image).numpy() - EXPECTED[..., None]).max() <= 0.5


def test_a_grey_level_that_is_transparent_stays_so():
    picture = Image.fromarray(LEVELS)
    picture.info["transparency"] = int(LEVELS[2, 3])
    grey = to_eight_bits(picture)
    assert grey.mode == "LA" and (np.asarray(grey)[..., 1] == 0).sum() == 1
    assert pil_to_rgb(picture)[2, 3].tolist() == [255] * 3


def test_pictures_of_32_bits_hold_8_or_are_refused():
    low = np.arange(48, dtype=np.int32).reshape(6, 8)
    for values in (low, low.astype(np.float32)):
        np.testing.assert_array_equal(pil_to_rgb(Image.fromarray(values))[..., 0], low)
    for bad, message in (
        (low - 5, "0 to 255, got -5 to 42"),
        (low * 1000, "0 to 255, got 0 to 47000; a picture of 16 bits has mode I;16"),
        ((low / 47).astype(np.float32), "must hold values of 0 to 255, got 0 to 1: multiply it"),
        (np.full((2, 2), np.nan, np.float32), "NaN or infinite"),
    ):
        with pytest.raises(ValueError, match=f"a picture of mode [IF] .*{message}"):
            to_eight_bits(Image.fromarray(bad), "a picture")
    from_png = Image.fromarray(low * 1000)
    from_png.format = "PNG"  # releases of Pillow before 11 open 16 bits so
    assert np.asarray(to_eight_bits(from_png)).max() == round(47_000 / 257)


def test_a_picture_without_a_scale_is_named_by_its_place_in_the_clip():
    with pytest.raises(ValueError, match=r"clip\[1\] of mode I must hold values of 0 to 255"):
        clip_to_tensor([Image.new("RGB", (6, 8)), Image.new("I", (6, 8), 70_000)], "clip")


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
def test_arrays_of_16_bits_are_scaled(make):
    frames = np.repeat(LEVELS[None, ..., None], 3, axis=-1)
    tensor = clip_to_tensor(make(frames))
    assert tensor.dtype == torch.float32
    np.testing.assert_allclose(tensor[0, 0].numpy(), EXPECTED, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.float32, np.float64])
def test_negative_values_are_refused(dtype):
    frames = np.zeros((2, 6, 8, 3), dtype)
    frames[1, 2, 3] = -3
    with pytest.raises(ValueError, match=r"clip must hold values of 0 to 255, got -3 to 0 of torch"):
        clip_to_tensor(frames, "clip")


@pytest.mark.parametrize("dtype", [np.int16, np.uint32, np.float32])
def test_values_above_255_are_refused_but_what_rounds_to_255_is_not(dtype):
    with pytest.raises(ValueError, match=r"0 to 255, got 0 to 256 of torch"):
        clip_to_tensor(np.arange(257, dtype=dtype)[None, :, None, None].repeat(3, 3))
    assert on_the_scale(torch.tensor([-0.4, 255.4]), "x").tolist() == pytest.approx([-0.4, 255.4])


def test_8_and_16_bits_mix_in_a_clip():
    tensor = clip_to_tensor([np.full((6, 8, 3), 128, np.uint8), np.full((6, 8, 3), 128 * 257, np.uint16)])
    assert torch.equal(tensor, torch.full((2, 3, 6, 8), 128.0))


def test_the_processor_gives_16_bits_the_pixels_of_8():
    processor = AussVideoProcessor(size={"height": 16, "width": 16})
    frames = np.random.default_rng(0).integers(0, 256, (2, 20, 24, 3), dtype=np.uint8)
    expected = processor(frames, return_tensors="pt")["pixel_values"]
    wide = frames.astype(np.uint16) * 257
    torch.testing.assert_close(processor(wide, return_tensors="pt")["pixel_values"], expected, rtol=0, atol=ROUNDING)
    own = processor(frames.astype(np.float32) * 257, rescale_factor=1 / 65_535, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(own, expected, rtol=0, atol=ROUNDING)
    ones = processor(frames.astype(np.float32) / 255, do_rescale=False, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(ones, expected, rtol=0, atol=ROUNDING)
    normalised = processor((frames / 127.5 - 1).astype(np.float32), do_rescale=False, do_normalize=False)
    assert normalised["pixel_values"][0].min() < 0
    with pytest.raises(ValueError, match="videos must hold values of 0 to 255, got -"):
        processor((frames / 127.5 - 1).astype(np.float32))


def test_a_png_of_which_any_byte_is_changed_or_missing_is_refused(tmp_path):
    """Pillow alone decodes most of these damaged files to some picture, without an error."""
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(path)
    content = path.read_bytes()
    for place in range(len(content)):
        for changed in (content[:place] + bytes([content[place] ^ 0x20]) + content[place + 1 :], content[:place]):
            path.write_bytes(changed)
            for source in (path, changed):
                with pytest.raises(ValueError, match="mask a.png"):
                    open_picture(source, "mask a.png")
    path.write_bytes(content + b"appended")  # some programs append bytes
    assert open_picture(path, "mask a.png").size == open_picture(content, "mask a.png").size == (16, 12)

import av
import numpy as np
import pytest
from PIL import Image

from auss.files.errors import InputError
from auss.inference.importing.labels import Moment
from auss.inference.importing.mask_files import draw_mask_picture, read_mask_folder, read_mask_video

from .conftest import SIZE, save_mask, square

MASK = square(5)


def palette_picture(indices: np.ndarray, colours: dict[int, tuple]) -> Image.Image:
    picture = Image.fromarray(indices.astype(np.uint8), mode="P")
    entries = np.zeros((256, 3), np.uint8)
    for index, colour in colours.items():
        entries[index] = colour
    picture.putpalette(entries.ravel().tolist())
    return picture


def coloured(mask: np.ndarray, colour) -> np.ndarray:
    picture = np.zeros((*mask.shape, len(colour)), np.uint8)
    picture[mask] = colour
    return picture


PICTURES = {
    "white": Image.fromarray(MASK.astype(np.uint8) * 255),
    "ones": Image.fromarray(MASK.astype(np.uint8)),
    "class number": Image.fromarray(MASK.astype(np.uint8) * 38),
    "one bit": Image.fromarray(MASK),
    "16 bits": Image.fromarray(MASK.astype(np.uint16) * 3),
    "palette": palette_picture(MASK * 2, {2: (0, 128, 0)}),
    "palette of VOC": palette_picture(
        np.where(square(45, side=5), 255, MASK * 1), {1: (128, 0, 0), 255: (224, 224, 192)}
    ),
    "colour": Image.fromarray(coloured(MASK, (128, 0, 64))),
    "black on transparent": Image.fromarray(coloured(MASK, (0, 0, 0, 255))),
    "opaque": Image.fromarray(np.dstack([coloured(MASK, (200, 0, 0)), np.full(SIZE, 255, np.uint8)])),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_a_mask_picture_of_any_kind_is_read(tmp_path, kind):
    path = tmp_path / "a.png"
    PICTURES[kind].save(path)
    assert (draw_mask_picture(path, SIZE) == MASK).all()


def test_two_objects_of_different_colours_are_both_inside(tmp_path):
    Image.fromarray(coloured(MASK, (255, 0, 0)) + coloured(square(40), (0, 60, 0))).save(tmp_path / "a.png")
    assert (draw_mask_picture(tmp_path / "a.png", SIZE) == MASK | square(40)).all()


def test_a_smooth_mask_is_cut_in_the_middle(tmp_path):
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    Image.fromarray(ramp).save(tmp_path / "a.png")
    assert (draw_mask_picture(tmp_path / "a.png", SIZE) == (ramp >= 128)).all()


def test_a_photograph_is_no_mask(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 90, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="photograph"):
        draw_mask_picture(tmp_path / "a.png", SIZE)
    (tmp_path / "b.png").write_bytes(b"%!PS-Adobe EPSF")
    with pytest.raises(InputError, match="b.png"):
        draw_mask_picture(tmp_path / "b.png", SIZE)


def test_a_folder_is_searched_without_hidden_files(tmp_path):
    for name in ("dog/000001.png", "cat_000002.png", ".hidden/3.png", "dog/._4.png", "__MACOSX/5.png", "note.txt"):
        save_mask(tmp_path / name, MASK) if name.endswith("png") else (tmp_path / name).write_text("")
    found = read_mask_folder(tmp_path, 1.0)
    assert [one.names for one in found] == [("cat_000002.png",), ("dog/000001.png",)]
    assert all(one.moment is None for one in found) and "cat_000002.png" in found[0].origin


def test_of_cvats_segmentation_export_only_the_classes_count(tmp_path):
    for folder in ("SegmentationClass", "SegmentationObject", "JPEGImages"):
        save_mask(tmp_path / folder / "dog_000001.png", MASK)
    assert [one.names for one in read_mask_folder(tmp_path, 1.0)] == [("SegmentationClass/dog_000001.png",)]


def test_a_folder_without_masks_is_refused(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match="has no mask"):
        read_mask_folder(tmp_path, 1.0)


def test_a_mask_video_gives_a_mask_at_every_time(tmp_path):
    path = tmp_path / "dog_mask.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for index in range(30):  # the square jumps every second, and is gone in the last one
            mask = square(4 if index < 10 else 40) & (index < 20)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(coloured(mask, (255, 255, 255)), format="rgb24")))
        container.mux(stream.encode(None))
    found = read_mask_video(path, "dog_mask.mp4", 1.0)
    assert [one.moment for one in found] == [Moment(time=0.0), Moment(time=1.0), Moment(time=2.0)]
    for one, expected in zip(found, (square(4), square(40), np.zeros(SIZE, bool)), strict=True):
        assert (one.mask(SIZE, SIZE) == expected).mean() > 0.99
    assert not found[2].regions and found[0].names == ("dog_mask.mp4",)
    assert len(read_mask_folder(tmp_path, 2.0)) == 6

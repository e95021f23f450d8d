"""Tests of drawing: which pixels are tinted, the size and the pixels of contact sheets, and which curves are drawn."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from auss.processing.drawing import (
    GAP,
    SOUNDING_COLOUR,
    area_around,
    class_colour,
    contact_sheet,
    history_series,
    outline,
    overlay,
    overlay_labels,
    resize_map,
    training_curves,
)


def disc(size: int, radius: float, centre: tuple[float, float]) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def make_clip(title: str = "clip J 0.87", num_frames: int = 5, size: int = 96) -> dict:
    generator = np.random.default_rng(0)
    frames = generator.integers(60, 120, (num_frames, size, size, 3), dtype=np.uint8)
    truth = np.stack([disc(size, size / 5, (size / 2, size * (index + 1) / 7)) for index in range(num_frames)])
    frames[truth] = (60, 160, 90)
    scores = np.stack([disc(size, size / 6, (size / 2, size * (index + 1) / 7)) for index in range(num_frames)])
    labels = truth.astype(np.int64)
    labels[-1] = 255
    return {"title": title, "frames": frames, "labels": labels, "scores": scores.astype(np.float32) * 0.9}


def test_overlay_tints_only_the_mask():
    frame = np.full((40, 60, 3), 100, np.uint8)
    scores = np.zeros((40, 60), np.float32)
    scores[10:20, 10:30] = 0.9
    scores[30:, :] = 0.5  # exactly the threshold, so not above it
    picture = overlay(frame, scores, colour=(200, 0, 0), alpha=0.5, contour=1)
    assert (frame == 100).all()
    assert (picture[scores <= 0.5] == 100).all()
    assert tuple(picture[10, 10]) == (200, 0, 0)
    assert tuple(picture[15, 20]) == (150, 50, 50)
    assert np.array_equal(picture, overlay(frame, scores > 0.5, colour=(200, 0, 0), alpha=0.5, contour=1))
    assert np.array_equal(overlay(frame, np.zeros((40, 60), bool)), frame)


def test_the_area_around_marks():
    marked = np.zeros((20, 30), bool)
    assert area_around(marked, 2) is None
    marked[5, 7] = marked[9, 29] = True
    assert area_around(marked, 0) == (slice(5, 10), slice(7, 30))
    assert area_around(marked, 6) == (slice(0, 16), slice(1, 36))


def test_outline_is_open_at_the_edge():
    mask = np.zeros((12, 12), bool)
    mask[:6, 3:9] = True
    border = outline(mask, 2)
    assert border[4:6, 3:9].all() and border[:6, 3:5].all()
    assert not border[:4, 5:7].any()


@pytest.mark.parametrize("picture", ["the colour itself", "red", "black", "white", "stripes", "noise"])
@pytest.mark.parametrize("label", [1, 2, 3, 7, 40])
def test_the_outline_shows_on_any_picture(picture, label):
    """Beside every pixel of the edge of a mask, one of the two lines differs clearly from what was there."""
    colour = np.array(class_colour(label))
    frame = np.zeros((60, 60, 3), np.uint8)
    if picture == "stripes":
        frame[:, ::2] = colour
    elif picture == "noise":
        frame[:] = np.random.default_rng(0).integers(0, 256, frame.shape)
    else:
        frame[:] = {"the colour itself": colour, "red": (200, 20, 20), "black": 0, "white": 255}[picture]
    mask = disc(60, 20, (30, 30))
    labels = mask.astype(np.uint8) * label
    difference = np.abs(overlay_labels(frame, labels, contour=2).astype(int) - frame).max(-1) * mask
    edge, band = outline(mask, 1), outline(mask, 3)
    assert (difference[~band & mask].max(initial=0) < 255) and not difference[~mask].any()
    nearby = ndimage.maximum_filter(difference * band, 7)
    assert nearby[edge].min() > 100


@pytest.mark.parametrize(
    ("frame", "scores", "alpha", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4)), 0.5, "frame must be"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5)), 0.5, "scores must be"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4)), 1.5, "alpha must"),
    ],
)
def test_overlay_refuses(frame, scores, alpha, message):
    with pytest.raises(ValueError, match=message):
        overlay(frame, scores, alpha=alpha)


def test_overlay_labels_gives_each_class_its_colour():
    frame = np.full((30, 30, 3), 90, np.uint8)
    labels = np.zeros((30, 30), np.int64)
    labels[2:10, 2:10], labels[2:10, 15:25], labels[20:] = 1, 7, 255
    picture = overlay_labels(frame, labels)
    assert tuple(picture[2, 5]) == SOUNDING_COLOUR == class_colour(1)
    assert tuple(picture[2, 18]) == class_colour(7) != SOUNDING_COLOUR
    assert (picture[20:] > 150).all() and (picture[12:19] == 90).all()


def test_resize_map_keeps_kind():
    labels = np.zeros((8, 8), np.int64)
    labels[:, 4:] = 255
    assert set(np.unique(resize_map(labels, (32, 20), nearest=True))) == {0, 255}
    scores = resize_map(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8), (16, 16))
    assert scores.dtype == np.float32 and 0 <= scores.min() < scores.max() <= 1


def test_contact_sheet_shows_every_part(tmp_path):
    clips = [make_clip(f"clip{index} J 0.{index}7") for index in range(3)]
    path = contact_sheet(clips, tmp_path / "new" / "sheet.png", columns=2, tile_height=96)
    sheet = np.asarray(Image.open(path))
    one = np.asarray(Image.open(contact_sheet(clips[:1], tmp_path / "one.png", tile_height=96)))
    assert sheet.shape[1] > 1.9 * one.shape[1] and sheet.shape[0] > 1.9 * one.shape[0]
    block_rows = one.shape[0] - 3 * (96 + GAP) - 14  # the three lower rows of tiles end one gap above the page's end
    tile_rows = [one[block_rows + row * (96 + GAP) :][:96] for row in range(3)]
    reds = [int((tile == SOUNDING_COLOUR).all(-1).sum()) for tile in tile_rows]
    assert reds[0] == 0 and reds[1] > 100 and reds[2] > 100


def test_contact_sheet_accepts_other_sizes_and_many_frames(tmp_path):
    clip = make_clip(num_frames=12, size=96)
    clip["labels"] = clip["labels"][:, ::2, ::2]
    few = Image.open(contact_sheet([clip], tmp_path / "few.png", max_frames=3)).size
    many = Image.open(contact_sheet([clip], tmp_path / "many.png", max_frames=12)).size
    assert many[0] - few[0] == 9 * (112 + GAP) and many[1] == few[1]


def test_a_clip_without_scores_has_no_row_for_the_prediction(tmp_path):
    whole = make_clip()
    labelled = {name: value for name, value in whole.items() if name != "scores"}
    three = np.asarray(Image.open(contact_sheet([whole], tmp_path / "three.png")))
    two = np.asarray(Image.open(contact_sheet([labelled], tmp_path / "two.png")))
    assert three.shape[0] - two.shape[0] == 112 + GAP and (two[: -14 - GAP] == three[: len(two) - 14 - GAP]).all()


def test_contact_sheet_refuses(tmp_path):
    with pytest.raises(ValueError, match="clips must have at least one"):
        contact_sheet([], tmp_path / "sheet.png")
    clip = make_clip()
    clip["scores"] = clip["scores"][:3]
    with pytest.raises(ValueError, match="same number of frames.*5, 5 and 3"):
        contact_sheet([clip], tmp_path / "sheet.png")


def test_training_curves(tmp_path):
    history = [
        {"step": step, "epoch": 0.1, "loss": 5 / step, "loss_dict": {"dice": 3 / step, "aqml": 0.0}, "note": "text"}
        for step in range(1, 40)
    ]
    history += [{"step": 20, "validation_M_J": 0.4, "validation_M_F": 0.5}, {"step": 40, "validation_M_J": 0.6}]
    series = history_series(history)
    assert set(series) == {"loss", "dice", "aqml", "validation_M_J", "validation_M_F"}
    assert series["validation_M_J"] == ([20.0, 40.0], [0.4, 0.6])
    picture = np.asarray(Image.open(training_curves(history, tmp_path / "deep" / "curves.png")).convert("L"))
    left, right = np.array_split(picture < 200, 2, axis=1)
    assert left.sum() > 500 and right.sum() > 500


def drawn_panels(history, tmp_path, monkeypatch):
    """The titles of the panels that `training_curves` draws, with the names of their curves."""
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    training_curves(history, tmp_path / "curves.png")
    (figure,) = figures
    return {axes.get_title(): [text.get_text() for text in axes.get_legend().get_texts()] for axes in figure.axes}


def test_no_panel_is_empty_and_terms_are_explained(tmp_path, monkeypatch):
    losses = [{"step": step, "losses": {"dice": 1 / step, "auxiliary": 2.0}} for step in (1, 2)]
    scores = [{"step": 2, "validation_M_J": 0.5}]
    with monkeypatch.context() as patch:
        panels = drawn_panels(losses, tmp_path, patch)
    assert panels == {"losses": ["dice", "auxiliary: the terms of the layers before the last, weighted and summed"]}
    with monkeypatch.context() as patch:
        assert drawn_panels(scores, tmp_path, patch) == {"validation": ["validation_M_J"]}
    with monkeypatch.context() as patch:
        assert list(drawn_panels([*losses, *scores], tmp_path, patch)) == ["losses", "validation"]


def test_training_curves_refuses(tmp_path):
    with pytest.raises(ValueError, match="history must hold"):
        training_curves([{"step": 1, "epoch": 1.0}], tmp_path / "curves.png")
    with pytest.raises(ValueError, match="every entry needs 'step'"):
        training_curves([{"loss": 1.0}], tmp_path / "curves.png")

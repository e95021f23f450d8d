"""Tests the paper's figures: the order of the queries, the clusters, and the pictures of a tiny trained model."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from auss import cli
from auss.train.data.avsbench import LAYOUTS, load_avsbench
from auss.train.data.loaders import create_eval_loader
from auss.train.loop.preparation import create_processor
from auss.train.paper import figures as figures_module
from auss.train.paper.figures import PRINCIPAL_COMPONENTS, cluster, collect_queries, draw_figures, draw_queries, embed

from ..conftest import make_ms3


@pytest.fixture
def root(tmp_path):
    return make_ms3(tmp_path / "avsbench", splits=("test",), clips=4)


@pytest.fixture
def blobs():
    """Makes three groups of ten points each in sixty dimensions, far from each other. Returns points and groups."""
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(3), 10)
    return random.normal(size=(3, 60))[groups] * 20 + random.normal(size=(30, 60)), groups


def test_queries_are_collected_clip_by_clip_and_frame_by_frame(tiny_model, root):
    processor = create_processor(tiny_model.config, 32)
    rows = load_avsbench(str(root), "ms3", "test")
    before, after, clips = collect_queries(tiny_model, create_eval_loader(rows, processor, 2, 3, workers=0))
    assert before.shape == (4, 8 * 16) and after.shape == (20, 8 * 16)
    assert clips.tolist() == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5
    batch = create_eval_loader(rows, processor, 2, 1, workers=0).collate_fn([rows[2]])
    inputs = {name: batch[name] for name in ("pixel_values", "input_features", "input_features_mask")}
    with torch.no_grad():
        outputs = tiny_model(**inputs)
    np.testing.assert_allclose(before[2], outputs.audio_queries[0].flatten().numpy(), atol=1e-5)
    np.testing.assert_allclose(after[13], outputs.fused_queries[0, 3].flatten().numpy(), atol=1e-5)


def test_clusters_are_the_groups_that_are_there(blobs):
    rows, groups = blobs
    labels = cluster(rows, 3)
    assert len(set(labels)) == 3
    for group in range(3):
        assert len(set(labels[groups == group])) == 1


def test_fewer_points_than_clusters_and_equal_points():
    assert set(cluster(np.eye(4), 20)) == {0, 1, 2, 3}
    assert set(cluster(np.ones((5, 8)), 20)) == {0}


def test_embedding_keeps_groups_together_and_is_repeatable(blobs):
    rows, groups = blobs
    points = embed(rows)
    assert points.shape == (30, 2) and np.array_equal(points, embed(rows))
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    same = groups[:, None] == groups[None]
    assert distances[same].mean() < distances[~same].min()
    assert rows.shape[1] > PRINCIPAL_COMPONENTS  # so the projection on principal components is used


def test_equal_rows_are_one_point():
    assert (embed(np.ones((6, 8))) == 0).all()


def test_the_legend_names_each_cluster_with_its_colour(tmp_path, monkeypatch, blobs):
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    rows, _ = blobs
    clips = np.repeat(np.arange(len(rows)), 2)
    draw_queries(rows, rows[clips], clips, tmp_path / "queries.png")
    (figure,) = figures
    (legend,) = figure.legends
    assert "cluster" in legend.get_title().get_text()
    names = [text.get_text() for text in legend.get_texts()]
    assert names == [str(number) for number in np.unique(cluster(rows))]
    for axes, points in zip(figure.axes, (len(rows), len(clips)), strict=True):
        assert [collection.get_label() for collection in axes.collections] == names
        assert sum(len(collection.get_offsets()) for collection in axes.collections) == points
    colours = [[tuple(one.get_facecolor()[0]) for one in axes.collections] for axes in figure.axes]
    assert colours[0] == colours[1] and len(set(colours[0])) == len(names)


def test_too_few_clips_are_refused(tmp_path):
    with pytest.raises(ValueError, match="three clips or more, got 2"):
        draw_queries(np.eye(2), np.eye(2), np.arange(2), tmp_path / "queries.png")


def test_figures_of_a_trained_model(trained_folder, root, tmp_path, capsys):
    options = ["--model", str(trained_folder), "--data", str(root), "--output", str(tmp_path / "figures")]
    options += ["--clips", "2", "--workers", "0"]
    assert cli.main(["figures", *options]) == 0
    queries, sheet = map(Image.open, capsys.readouterr().out.split())
    assert (queries.width, queries.height) == (1210, 550)
    colours = {colour for _, colour in queries.convert("RGB").getcolors(100_000)}
    assert len(colours) > 10  # the picture shows points
    assert sheet.height > 32
    assert cli.main(["figures", *options]) == cli.USAGE_ERROR
    assert "--overwrite" in capsys.readouterr().err
    assert cli.main(["figures", *options, "--overwrite"]) == 0


def test_figures_of_a_model_in_half_precision(half_folder, root, tmp_path):
    for path in draw_figures(str(half_folder), str(root), tmp_path / "figures", clips=2, workers=0):
        assert path.stat().st_size > 1000


def test_sheet_shows_clips_spread_over_the_split(trained_folder, root, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("auss.train.paper.figures.draw_clips", lambda *arguments: shown.append(arguments))
    draw_figures(str(trained_folder), str(root), tmp_path / "figures", clips=2, workers=0)
    assert [record["clip_id"] for record in shown[0][4]] == ["test_0", "test_2"]


def test_queries_of_a_bounded_number_of_clips(trained_folder, root, tmp_path, monkeypatch):
    collected = []
    monkeypatch.setattr("auss.train.paper.figures.draw_queries", lambda *arguments: collected.append(arguments))
    draw_figures(str(trained_folder), str(root), tmp_path / "figures", clips=1, query_clips=3, workers=0)
    assert collected[0][2].tolist() == [0] * 5 + [1] * 5 + [2] * 5


@pytest.fixture
def without_masks(monkeypatch):
    """Removes the annotation of some clips of ms3."""

    def take(*names):
        layout = LAYOUTS["ms3"]

        def make_row(*arguments):
            row = layout.make_row(*arguments)
            return {**row, "masks": [], "annotated_frames": []} if row["clip_id"] in names else row

        monkeypatch.setitem(LAYOUTS, "ms3", dataclasses.replace(layout, make_row=make_row))

    return take


def test_sheet_leaves_out_clips_without_annotation(trained_folder, root, tmp_path, monkeypatch, without_masks):
    without_masks("test_0")
    sheets = []
    draw = figures_module.draw_clips
    monkeypatch.setattr(figures_module, "draw_clips", lambda *arguments: sheets.append(arguments) or draw(*arguments))
    draw_figures(str(trained_folder), str(root), tmp_path / "figures", clips=2, workers=0)
    assert [record["clip_id"] for record in sheets[0][4]] == ["test_2"]


def test_sheet_without_annotated_clips_is_refused(trained_folder, root, tmp_path, without_masks):
    without_masks("test_0", "test_2")
    with pytest.raises(ValueError, match="none of the 2 clips for the sheet has an annotated frame"):
        draw_figures(str(trained_folder), str(root), tmp_path / "figures", clips=2, workers=0)


def test_no_clips_are_refused(trained_folder, root, capsys):
    options = ["--model", str(trained_folder), "--data", str(root), "--clips", "0"]
    assert cli.main(["figures", *options]) == cli.USAGE_ERROR
    assert "--clips must be at least 1" in capsys.readouterr().err


def test_weights_that_are_cut_off_are_an_error_on_one_line(trained_folder, root, tmp_path, capsys):
    weights = trained_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    options = ["--model", str(trained_folder), "--data", str(root), "--output", str(tmp_path / "figures")]
    assert cli.main(["figures", *options]) == cli.USAGE_ERROR
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_missing_scikit_learn_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(figures_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"figures need scikit-learn: pip install scikit-learn"):
        draw_figures("model", "data", tmp_path)

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from auss.hub.trained_model import load_trained
from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from auss.train.data.avsbench import load_avsbench
from auss.train.data.avss_palette import avss_palette, read_class_names
from auss.train.data.collator import AussDataCollator
from auss.train.data.loaders import create_eval_loader
from auss.train.data.rows import SeededRows
from auss.train.evaluation.evaluate import (
    binary_labels,
    evaluate,
    evaluate_folder,
    format_markdown,
    format_text,
)
from auss.train.evaluation.metrics import class_means, class_scores, f_score, jaccard
from auss.train.loop.preparation import create_processor

from ..conftest import make_avss


def expected_scores(model, processor, rows):
    """Computes M_J and M_F in a plain way: clip by clip, each mask file against the model's own output."""
    values = []
    for row in rows:
        frames = [Image.open(frame["path"]) for frame in row["frames"]]
        masks = np.stack([np.asarray(Image.open(mask["path"]).convert("L")) > 127 for mask in row["masks"]])
        import soundfile

        waveform, rate = soundfile.read(row["audio"]["path"], dtype="float32")
        inputs = processor(videos=[frames], audio=[waveform], sampling_rate=rate, return_tensors="pt")
        with torch.no_grad():
            outputs = model(**inputs)
        clip = processor.post_process_audio_visual_segmentation(outputs, [masks.shape[1:]])[0]
        values.append((jaccard(clip["scores"], masks), f_score(clip["scores"], masks)))
    return np.mean(values, axis=0)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_results_are_the_means_over_clips_of_plain_inference(s4_root, trained_folder, batch_size):
    model, processor = load_trained(str(trained_folder))
    rows = SeededRows(load_avsbench(s4_root, "s4", "test"))
    accelerator = Accelerator()
    loader = create_eval_loader(rows, processor, 2, batch_size, 0)
    results = evaluate(accelerator, model.train(), loader, processor)
    assert model.training  # the mode is restored
    expected = expected_scores(model.eval(), processor, list(rows))
    assert (results["M_J"], results["M_F"]) == pytest.approx(tuple(expected), abs=1e-6)
    assert [record["clip_id"] for record in results["per_clip"]] == ["test_0", "test_1"]
    assert results["categories"].keys() == {"bell", "dog"}


class DrawingModel(torch.nn.Module):
    """Predicts class 1 at and around the square of `make_avss`, class 70 in the lowest rows of bright frames, class 5
    in the right half of dark frames, and background elsewhere. The model needs no weights."""

    def __init__(self, num_labels):
        super().__init__()
        self.num_labels = num_labels

    def forward(self, pixel_values, **_):
        classes = torch.zeros(*pixel_values.shape[:2], *pixel_values.shape[-2:], dtype=torch.int64)
        classes[..., 7:21, :16] = 1
        bright = pixel_values.mean(dim=(2, 3, 4)) > 0
        classes[..., -3:, :] = torch.where(bright, 70, 0)[..., None, None]
        classes[..., 16:] = torch.where(bright[..., None, None], classes[..., 16:], 5)
        logits = torch.nn.functional.one_hot(classes, self.num_labels).float().permute(0, 1, 4, 2, 3)
        return type("Outputs", (), {"logits": logits})()


@pytest.fixture
def avss_test_root(tmp_path):
    """Makes the test split, in which all frames are annotated. The pictures of v1m have another size."""
    root = make_avss(tmp_path / "avsbench", ("test",))
    for path in [*root.glob("v1m/*/labels_rgb/*.png"), *root.glob("v1m/*/frames/*.jpg")]:
        with Image.open(path) as picture:
            picture.resize((30, 12), Image.Resampling.NEAREST).save(path)
    return root


def official_figures(model, processor, rows, num_labels=71):
    """
    Computes M_J, M_F and background's J from the formulas of AVSBench-semantic's official code. A clip has 10 frames;
    missing frames get labels of background and an output of zeros. Pictures are resized to 224 x 224 by Pillow's
    nearest pixel. IoU and F are computed for each frame and class, and 0 / 0 is not counted. The sums of each class
    are divided by its counts, and the mean is over all classes.
    """
    iou, f, count = np.zeros(num_labels), np.zeros(num_labels), np.zeros(num_labels)
    numbers = {tuple(colour): label for label, colour in enumerate(avss_palette(num_labels).tolist())}
    for row in rows:
        batch = AussDataCollator(processor, num_labels=num_labels)([row])
        with torch.no_grad():
            logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits[0]
        logits = torch.nn.functional.interpolate(logits, size=(224, 224), mode="bilinear")
        logits = torch.cat([logits, torch.zeros(10 - len(logits), num_labels, 224, 224)])
        labels = np.zeros((10, 224, 224), dtype=int)
        for index, mask in enumerate(row["masks"]):
            picture = Image.open(mask["path"]).convert("RGB").resize((224, 224), Image.Resampling.NEAREST)
            labels[index] = [[numbers[tuple(colour)] for colour in line] for line in np.asarray(picture).tolist()]
        for prediction, label in zip(logits.argmax(1).numpy(), labels, strict=True):
            for one in np.union1d(prediction, label):
                hit = ((prediction == one) & (label == one)).sum()
                count[one] += 1
                iou[one] += hit / ((prediction == one) | (label == one)).sum()
                if hit:
                    precision, recall = hit / (prediction == one).sum(), hit / (label == one).sum()
                    f[one] += 1.3 * precision * recall / (0.3 * precision + recall)
    with np.errstate(invalid="ignore"):
        iou, f = np.nan_to_num(iou / count), np.nan_to_num(f / count)
    return iou.mean(), f.mean(), iou[0]


def test_avss_has_the_official_figure_and_the_plain_one(avss_test_root, tiny_config):
    """Clips of 5 and of 10 frames, one of another size, are scored in one batch or in three."""
    dataset = load_avsbench(avss_test_root, "avss", "test")
    processor = create_processor(tiny_config, 32)
    model, accelerator = DrawingModel(71), Accelerator()
    loader = create_eval_loader(SeededRows(dataset), processor, 71, 3, 0)
    results = evaluate(accelerator, model, loader, processor, num_labels=71)
    one_by_one = create_eval_loader(SeededRows(dataset), processor, 71, 1, 0)
    assert evaluate(accelerator, model, one_by_one, processor, num_labels=71) == results
    official = official_figures(model, processor, list(SeededRows(dataset)))
    assert (results["M_J"], results["M_F"], results["classes"][0]["J"]) == pytest.approx(official, abs=1e-6)
    assert len(results["classes"]) == 71 and results["padded_frames"] == 5 + 5
    clips = []
    for batch in one_by_one:
        size = tuple(batch["labels"].shape[-2:])
        output = processor.post_process_audio_visual_segmentation(model(batch["pixel_values"]), [size])[0]
        clips.append(class_scores(output["segmentation"], batch["labels"][0], 71))
    assert results["plain"] == class_means([rows for rows, _ in clips])
    assert results["frames"] == sum(frames for _, frames in clips) == 5 + 5 + 10
    assert results["sizes"] == {"16 x 24": 2, "12 x 30": 1} and results["official_size"] == "224 x 224"
    assert len(results["per_clip"]) == 3
    assert 0.2 < results["classes"][1]["J"] < 1 and 0 < results["classes"][70]["F"] < 1
    assert 0 < results["M_J"] < results["plain"]["M_J"]  # most classes never occur


@pytest.mark.parametrize("batch_size", [1, 2])
def test_clips_of_several_sizes_are_scored_one_by_one(s4_root, trained_folder, batch_size):
    for path in s4_root.rglob("test/*/test_1/*.png"):
        with Image.open(path) as picture:
            picture.resize((40, 22), Image.Resampling.NEAREST).save(path)
    results = evaluate_folder(str(trained_folder), str(s4_root), batch_size=batch_size, workers=0)
    model, processor = load_trained(str(trained_folder))
    expected = expected_scores(model, processor, list(SeededRows(load_avsbench(s4_root, "s4", "test"))))
    assert (results["M_J"], results["M_F"]) == pytest.approx(tuple(expected), abs=1e-6)
    assert results["sizes"] == {"16 x 24": 1, "22 x 40": 1}
    told = "at their own size, height x width: 16 x 24 (1 clips), 22 x 40 (1 clips)"
    assert told in Path(results["files"]["markdown"]).read_text()
    assert json.loads(Path(results["files"]["json"]).read_text())["sizes"] == results["sizes"]


def test_binary_labels_keep_what_is_not_annotated():
    assert binary_labels(torch.tensor([0, 1, 70, 255])).tolist() == [0, 1, 1, 255]


@pytest.mark.parametrize("sound", ["own", "muted", "swapped"])
def test_a_folder_is_evaluated_into_files(s4_root, trained_folder, sound):
    results = evaluate_folder(str(trained_folder), str(s4_root), sound=sound, workers=0)
    files = results["files"]
    assert {kind: path.rpartition("/")[2] for kind, path in files.items()} == {
        "json": f"s4-test-{sound}.json",
        "markdown": f"s4-test-{sound}.md",
        "best": f"s4-test-{sound}-best.png",
        "worst": f"s4-test-{sound}-worst.png",
    }
    saved = json.loads(open(files["json"]).read())
    assert (saved["M_J"], saved["M_F"], saved["sound"]) == (results["M_J"], results["M_F"], sound)
    assert saved["per_clip"] == results["per_clip"]
    assert f"| all | 2 | {results['M_J']:.3f} | {results['M_F']:.3f} |" in open(files["markdown"]).read()
    told = f"| test | {sound} | {results['M_J']:.3f} | {results['M_F']:.3f} |"
    assert told in (trained_folder / "README.md").read_text()
    with Image.open(files["best"]) as best, Image.open(files["worst"]) as worst:
        assert best.size == worst.size
        j = {record["clip_id"]: record["J"] for record in results["per_clip"]}
        # Both sheets show the two clips in opposite order, so they are only equal if J is equal.
        assert (np.asarray(best) != np.asarray(worst)).any() == (j["test_0"] != j["test_1"])


def test_weights_of_half_precision_are_scored_in_it(s4_root, half_folder):
    """The expected scores come from plain inference with the same weights."""
    results = evaluate_folder(str(half_folder), str(s4_root), workers=0)
    model, processor = load_trained(str(half_folder))
    assert model.dtype in (torch.bfloat16, torch.float16)
    expected = expected_scores(model, processor, list(SeededRows(load_avsbench(s4_root, "s4", "test"))))
    assert (results["M_J"], results["M_F"]) == pytest.approx(tuple(expected), abs=0.01)


def test_mixed_precision_of_training_does_not_reach_the_scores(
    s4_root, trained_folder, own_accelerator_state, monkeypatch
):
    """Mixed precision changes neither the scores of the network that trains with it nor those of a folder
    afterwards."""
    from auss.train.evaluation import evaluate as evaluate_module

    model, processor = load_trained(str(trained_folder))
    loader = create_eval_loader(SeededRows(load_avsbench(s4_root, "s4", "test")), processor, 2, 4, 0)
    accelerator = Accelerator(mixed_precision="bf16")
    plain = evaluate(accelerator, model, loader, processor)["per_clip"]
    model = accelerator.prepare(model)
    batch = {name: value for name, value in next(iter(loader)).items() if torch.is_tensor(value)}
    autocast = model(**batch).logits
    assert evaluate(accelerator, model, loader, processor)["per_clip"] == plain
    assert evaluate_folder(str(trained_folder), str(s4_root), workers=0)["per_clip"] == plain
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(evaluate_module, "segment_clips", lambda *_: 1 / 0)
        evaluate(accelerator, model, loader, processor)
    assert torch.equal(model(**batch).logits, autocast)
    monkeypatch.setattr(evaluate_module, "own_precision", lambda _: contextlib.nullcontext())
    # Mixed precision would change the scores
    assert evaluate(accelerator, model, loader, processor)["per_clip"] != plain


def test_swapped_sound_reaches_the_model(s4_root, trained_folder, monkeypatch):
    """With two clips each hears the other: the log-mels that the model gets are exchanged, the pixels are not."""
    from auss.train.evaluation import evaluate as evaluate_module

    seen = {}
    original = evaluate_module.segment_clips

    def watch(model, processor, batch):
        if len(batch["clip_id"]) == 2:
            seen[sound] = batch
        return original(model, processor, batch)

    monkeypatch.setattr(evaluate_module, "segment_clips", watch)
    for sound in ("own", "swapped"):
        evaluate_folder(str(trained_folder), str(s4_root), sound=sound, workers=0)
    assert torch.equal(seen["own"]["pixel_values"], seen["swapped"]["pixel_values"])
    assert torch.equal(seen["own"]["input_features"].flip(0), seen["swapped"]["input_features"])
    assert not torch.equal(seen["own"]["input_features"], seen["swapped"]["input_features"])


def test_an_earlier_result_is_replaced_only_when_asked(s4_root, trained_folder, tmp_path):
    arguments = (str(trained_folder), str(s4_root))
    evaluate_folder(*arguments, workers=0)
    mine = trained_folder / "evaluation" / "s4-test-own.md"
    mine.write_text("mine")
    with pytest.raises(ValueError, match="has s4-test-own.json, s4-test-own.md, .* pass --overwrite to replace it"):
        evaluate_folder(*arguments, workers=0)
    assert mine.read_text() == "mine"
    evaluate_folder(*arguments, split="val", workers=0)  # the result of another split is a file of its own
    evaluate_folder(*arguments, output=str(tmp_path / "elsewhere"), workers=0)
    evaluate_folder(*arguments, workers=0, overwrite=True)
    assert "| all | 2 |" in mine.read_text()


def test_a_clip_that_cannot_be_scored_is_named(s4_root, trained_folder, monkeypatch):
    from auss.train.evaluation import evaluate as evaluate_module

    model, processor = load_trained(str(trained_folder))
    monkeypatch.setattr(evaluate_module, "segment_clips", lambda *_: [{"scores": torch.full((5, 16, 24), torch.nan)}])
    loader = create_eval_loader(SeededRows(load_avsbench(s4_root, "s4", "test")), processor, 2, 1, 0)
    with pytest.raises(ValueError, match=r"scoring clips test_0: clip 0 of 1: scores must lie in \[0, 1\]"):
        evaluate(Accelerator(), model, loader, processor)


def test_errors_name_the_argument(s4_root, ms3_root, trained_folder, tmp_path):
    with pytest.raises(ValueError, match="sound must be one of own, muted, swapped, got 'loud'"):
        evaluate_folder(str(trained_folder), str(s4_root), sound="loud")
    with pytest.raises(FileNotFoundError, match=r"missing is no folder with a trained model"):
        evaluate_folder(str(tmp_path / "missing"), str(s4_root))
    with pytest.raises(ValueError, match="at least two named categories"):
        evaluate_folder(str(trained_folder), str(ms3_root), "ms3", "train", sound="swapped")


def test_a_model_of_other_labels_than_the_data_is_refused(avss_root, trained_folder):
    with pytest.raises(ValueError, match="avss needs a model of 71 labels, the one in .* has 2"):
        evaluate_folder(str(trained_folder), str(avss_root), "avss", "train")


def test_tables_list_the_categories_and_end_with_the_whole():
    category = {"M_J": 0.25, "M_F": 0.5, "clips": 3}
    results = {"M_J": 0.125, "M_F": 0.75, "clips": 5, "categories": {"violin": category}}
    assert format_text(results).splitlines() == [
        "         clips     M_J     M_F",
        "violin       3   0.250   0.500",
        "all          5   0.125   0.750",
    ]
    assert format_markdown(results, "title").splitlines() == [
        "# title",
        "",
        "| | clips | M_J | M_F |",
        "| --- | ---: | ---: | ---: |",
        "| violin | 3 | 0.250 | 0.500 |",
        "| all | 5 | 0.125 | 0.750 |",
    ]
    semantic = {"M_J": 0.1, "M_F": 0.2, "frames": 9, "classes": {4: {"J": 0.3, "F": 0.4, "frames": 9}}}
    assert format_text(semantic).splitlines()[1] == "4         9   0.300   0.400"
    semantic["classes"][4]["name"] = "bell"
    assert format_text(semantic).splitlines()[1] == "bell       9   0.300   0.400"
    assert "| bell | 9 | 0.300 | 0.400 |" in format_markdown(semantic, "title")


def test_the_command_prints_the_table_and_the_files(s4_root, trained_folder, tmp_path, capsys):
    import argparse

    from auss.train.command_arguments import add_evaluate_arguments
    from auss.train.evaluation.evaluate import run

    parser = argparse.ArgumentParser()
    add_evaluate_arguments(parser)
    options = ["--model", str(trained_folder), "--data", str(s4_root), "--workers", "0", "--split", "val"]
    assert run(parser.parse_args([*options, "--output", str(tmp_path / "results")])) == 0
    printed = capsys.readouterr().out
    assert "M_J" in printed and "\nall " in printed and str(tmp_path / "results" / "s4-val-own.json") in printed


@pytest.mark.slow
@pytest.mark.parametrize("name", ["s4", "ms3", "avss"])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_two_processes_evaluate_as_one(odd_root, in_two_processes, make_config, tmp_path, name, batch_size):
    """There are three clips. In s4, in batches of one, the pictures have unequal sizes. In avss the clips have unequal
    lengths."""
    root = odd_root(name)
    if (name, batch_size) == ("s4", 1):
        for path in root.rglob("val/*/val_1/*.png"):
            with Image.open(path) as picture:
                picture.resize((40, 30), Image.Resampling.NEAREST).save(path)
    names = read_class_names(root) if name == "avss" else ["silent", "sounding"]
    torch.manual_seed(0)
    model = AussForAudioVisualSegmentation(make_config(id2label=dict(enumerate(names)), num_audio_examples=10))
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    create_processor(model.config, 32).save_pretrained(folder)
    alone = evaluate_folder(
        str(folder), str(root), name, "val", output=str(tmp_path / "alone"), batch_size=batch_size, workers=0
    )
    options = ["--model", str(folder), "--data", str(root), "--name", name, "--split", "val", "--workers", "0"]
    options += ["--batch-size", str(batch_size), "--output", str(tmp_path / "together")]
    assert in_two_processes("evaluate", *options).count(f"{name}-val-own.json") == 1
    together = json.loads((tmp_path / "together" / f"{name}-val-own.json").read_text())
    assert [record["clip_id"] for record in together["per_clip"]] == [one["clip_id"] for one in alone["per_clip"]]
    assert len(together["per_clip"]) == 3
    assert (together["M_J"], together["M_F"]) == pytest.approx((alone["M_J"], alone["M_F"]), abs=1e-6)
    if name == "avss":
        assert together["frames"] == alone["frames"] == 20
        assert together["plain"]["M_J"] == pytest.approx(alone["plain"]["M_J"], abs=1e-6)
        assert together["classes"]["1"]["J"] == pytest.approx(alone["classes"][1]["J"], abs=1e-6)
        assert together["classes"]["1"]["name"] == "class 1"


@pytest.mark.parametrize("file_format", ["onnx", pytest.param("torch-export", marks=pytest.mark.slow)])
def test_an_export_scores_like_the_model(exports, whole_export, s4_root, tmp_path, file_format):
    folders = {"model": tmp_path / "model", "export": tmp_path / "export"}
    exports.model.save_pretrained(folders["model"])
    exports.processor.save_pretrained(folders["model"])
    shutil.copytree(whole_export(file_format), folders["export"])
    expected, found = (
        evaluate_folder(str(folder), str(s4_root), workers=0, trust_remote_code=True) for folder in folders.values()
    )
    assert found["M_J"] == pytest.approx(expected["M_J"], abs=1e-3)
    assert found["M_F"] == pytest.approx(expected["M_F"], abs=1e-3)
    assert 0 < expected["M_J"] < 1 and not (folders["export"] / "README.md").exists()
    recorded = [json.loads(Path(results["files"]["json"]).read_text())["weights"] for results in (expected, found)]
    assert recorded[0] != recorded[1]

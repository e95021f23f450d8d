"""Tests the metrics as `evaluate` modules: loading, adding clips, sharing between processes, and use in a Trainer."""

import json
import os
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import evaluate
import numpy as np
import pytest
import torch
from transformers import EvalPrediction

import auss
from auss.processing.post_processing_auss import post_process_audio_visual_segmentation
from auss.train.data.avsbench import load_avsbench
from auss.train.data.collator import resize_labels
from auss.train.evaluation.evaluate import evaluate_folder
from auss.train.evaluation.metric_modules import (
    AussTrainerMetrics,
    MeanFScore,
    MeanJaccard,
    SemanticScores,
    metric_path,
)
from auss.train.evaluation.metrics import class_means, class_scores, f_score, jaccard, official_class_means

# Clips of all lengths and sizes: (F, H, W).
SHAPES = [(5, 8, 6), (1, 3, 3), (10, 4, 9), (5, 8, 6), (2, 30, 20)]


def make_clips(shapes=SHAPES):
    generator = np.random.default_rng(0)
    return [(generator.random(shape, dtype=np.float32), generator.random(shape) < 0.3) for shape in shapes]


def make_labelled_clips(num_labels=4, shapes=SHAPES):
    generator = np.random.default_rng(1)
    return [(generator.integers(0, num_labels, shape), generator.integers(0, num_labels, shape)) for shape in shapes]


@pytest.mark.parametrize("name, formula", [("m_j", jaccard), ("m_f", f_score)])
def test_a_loaded_metric_is_the_mean_over_clips_of_the_formula(name, formula):
    clips = make_clips()
    scores, masks = zip(*clips, strict=True)
    expected = {name: pytest.approx(np.mean([formula(*clip) for clip in clips]), abs=1e-9)}
    metric = evaluate.load(auss.metric_path(name))
    assert isinstance(metric, evaluate.Metric)
    assert metric.compute(predictions=scores, references=masks) == expected
    for clip_scores, clip_masks in clips:
        metric.add(prediction=torch.from_numpy(clip_scores), reference=clip_masks.astype(int).tolist())
    assert len(metric) == len(clips)
    assert metric.compute() == expected
    metric.add_batch(predictions=scores[:2], references=masks[:2])
    metric.add_batch(predictions=torch.from_numpy(np.stack(scores[3:4])), references=np.stack(masks[3:4]))
    metric.add(prediction=scores[2], reference=masks[2])
    assert metric.compute(predictions=scores[4:], references=masks[4:]) == expected


def semantic_result(clips, num_labels):
    """Returns the result of the metric for (predictions, labels) of clips. SHAPES' clips lack 5, 9, 0, 5 and 8 of 10
    frames."""
    rows = [class_scores(*clip, num_labels)[0] for clip in clips]
    official = official_class_means(rows, sum(10 - len(labels) for _, labels in clips), num_labels)
    plain = class_means(rows)
    return {
        **{"m_j": official["M_J"], "m_f": official["M_F"], "classes": official["classes"]},
        **{"plain_m_j": plain["M_J"], "plain_m_f": plain["M_F"], "plain_classes": plain["classes"]},
    }


def test_the_class_wise_metric_is_that_of_the_formulas():
    clips = make_labelled_clips()
    metric = evaluate.load(metric_path("avss"), num_labels=4)
    for prediction, reference in clips:
        metric.add(prediction=prediction, reference=torch.from_numpy(reference))
    result = metric.compute()
    assert result == semantic_result(clips, 4)
    assert result["classes"][0]["frames"] == result["plain_classes"][0]["frames"] + 5 + 9 + 0 + 5 + 8
    metric.add(prediction=clips[0][0], reference=clips[0][1])
    (rows,) = metric.compute(per_clip=True)["avss"]
    assert rows == class_scores(*clips[0], 4)[0].tolist()
    with pytest.raises(ValueError, match="predictions must hold class ids 0 to 3, got 4 to 4"):
        metric.add(prediction=np.full((1, 2, 2), 4), reference=np.zeros((1, 2, 2)))


def test_metrics_are_combined():
    scores, masks = zip(*make_clips(), strict=True)
    both = evaluate.combine([metric_path("m_j"), metric_path("m_f")])
    both.add(prediction=scores[0], reference=masks[0])
    both.add_batch(predictions=scores[1:], references=masks[1:])
    result = both.compute()
    assert result == {
        "m_j": pytest.approx(np.mean([jaccard(*clip) for clip in zip(scores, masks, strict=True)])),
        "m_f": pytest.approx(np.mean([f_score(*clip) for clip in zip(scores, masks, strict=True)])),
    }


def test_frames_and_clips_without_annotation_are_not_scored():
    (scores, masks), (other_scores, other_masks) = make_clips()[:2]
    labels = torch.from_numpy(masks).long()
    labels[2:] = 255
    metric = MeanJaccard(keep_in_memory=True)
    metric.add(prediction=scores, reference=labels)
    metric.add(prediction=other_scores, reference=np.full(other_masks.shape, 255))
    assert metric.compute(per_clip=True) == {"m_j": [jaccard(scores[:2], masks[:2]), None]}
    metric.add_batch(predictions=[scores, other_scores], references=[labels, np.full(other_masks.shape, 255)])
    assert metric.compute() == {"m_j": jaccard(scores[:2], masks[:2])}


@pytest.mark.parametrize("in_memory", [True, False])
def test_without_an_annotated_clip_there_is_no_result_and_the_metric_goes_on(in_memory, tmp_path):
    metric = MeanFScore(keep_in_memory=in_memory, cache_dir=str(tmp_path))
    for clips in (0, 1):
        metric.add_batch(predictions=[np.zeros((1, 2, 2))] * clips, references=[np.full((1, 2, 2), 255)] * clips)
        with pytest.raises(ValueError, match="no clip with an annotated frame was added, so there is no m_f"):
            metric.compute()
    with pytest.raises(ValueError, match="so there is no m_f"):
        metric.compute()
    metric.add(prediction=np.ones((1, 2, 2)), reference=np.ones((1, 2, 2)))
    assert metric.compute() == {"m_f": pytest.approx(1.0)}
    assert not list(tmp_path.rglob("*.arrow"))


def test_bad_input_is_named_and_the_batch_left_out():
    (scores, masks), (other_scores, _) = make_clips()[:2]
    metric = MeanJaccard(keep_in_memory=True)
    bad = [
        (dict(predictions=[scores, scores], references=[masks]), "must hold equally many clips, got 2 and 1"),
        (dict(predictions=[scores, other_scores], references=[masks, masks]), r"clip 1 of 2: .* must both be \(F, H"),
        (dict(predictions=[scores + 1], references=[masks]), r"clip 0 of 1: scores must lie in \[0, 1\]"),
        (dict(predictions=[scores], references=[masks * 7]), "clip 0 of 1: masks must be boolean or hold 0 and 1"),
        (dict(predictions=[None], references=[None]), r"must both be \(F, H, W\)"),
        (dict(predictions=[scores], references=[masks], weights=[1]), "m_j takes predictions and references, got we"),
    ]
    for arguments, message in bad:
        with pytest.raises(ValueError, match=message):
            metric.add_batch(**arguments)
    assert len(metric) == 0
    with pytest.raises(ValueError, match="m_j takes predictions and references, got weights"):
        metric.add(prediction=scores, reference=masks, weights=1)
    with pytest.raises(ValueError, match="name must be one of avss, m_f, m_j, got 'miou'"):
        metric_path("miou")


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("metric_class", [MeanJaccard, MeanFScore, SemanticScores])
def test_the_maps_are_not_kept(metric_class, in_memory, tmp_path):
    """Forty clips of 3 MB each take only a few kilobytes, in memory and on the disk."""
    metric = metric_class(cache_dir=str(tmp_path), keep_in_memory=in_memory)
    prediction = np.zeros((5, 400, 400), dtype=np.float32)
    reference = prediction.astype(np.uint8)
    tracemalloc.start()
    for _ in range(40):
        metric.add(prediction=prediction, reference=reference)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(metric) == 40
    assert held < 1_000_000
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.arrow")) < 100_000
    if in_memory:
        assert metric.buf_writer.getvalue().size < 100_000


PROCESS = """
import json, sys
import evaluate, numpy as np
from auss.train.evaluation.metric_modules import metric_path

process, cache = int(sys.argv[1]), sys.argv[2]
clips = np.load(sys.argv[3])
results = {}
for name in ("m_j", "m_f", "avss"):
    shared = dict(num_process=2, process_id=process, cache_dir=cache, experiment_id="run")
    metric = evaluate.load(metric_path(name), **shared)
    for index in range(process, int(sys.argv[4]), 2):
        kind = "label" if name == "avss" else "mask"
        metric.add(
            prediction=clips[f"{'class' if name == 'avss' else 'score'}{index}"], reference=clips[f"{kind}{index}"]
        )
    results[name] = metric.compute()
print(json.dumps(results))
"""


@pytest.mark.slow
@pytest.mark.parametrize("count", [5, 1])
def test_two_processes_share_the_clips(tmp_path, count):
    """With five clips one process has more clips than the other. With one clip one process has none."""
    clips, labelled = make_clips()[:count], make_labelled_clips(4)[:count]
    arrays = {f"score{i}": clip[0] for i, clip in enumerate(clips)} | {f"mask{i}": c[1] for i, c in enumerate(clips)}
    arrays |= {f"class{i}": clip[0] for i, clip in enumerate(labelled)}
    arrays |= {f"label{i}": clip[1] for i, clip in enumerate(labelled)}
    np.savez(tmp_path / "clips.npz", **arrays)
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(number), str(tmp_path), str(tmp_path / "clips.npz"), str(count)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in (0, 1)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    first, second = (json.loads(output.strip().splitlines()[-1]) for output, _ in outputs)
    assert second == {"m_j": None, "m_f": None, "avss": None}
    assert first["m_j"]["m_j"] == pytest.approx(np.mean([jaccard(*clip) for clip in clips]), abs=1e-9)
    assert first["m_f"]["m_f"] == pytest.approx(np.mean([f_score(*clip) for clip in clips]), abs=1e-9)
    expected = semantic_result(labelled, 71)
    for name in ("m_j", "m_f", "plain_m_j", "plain_m_f"):
        assert first["avss"][name] == pytest.approx(expected[name], abs=1e-9)


def test_trainer_metrics_score_each_batch_when_it_comes():
    """The expected values come from the formulas on the post-processed output. A second evaluation gives them
    again."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.rand(3, 2, 2, 8, 8, generator=generator)
    labels = (torch.rand(3, 2, 12, 10, generator=generator) < 0.4).long()
    labels[1, 1] = 255
    labels[2, 1] = -100  # Trainer pads with this value
    outputs = type("Outputs", (), {"logits": logits})()
    clips = post_process_audio_visual_segmentation(outputs, [(12, 10)] * 3)
    frames = [2, 1, 1]
    pairs = [(clip["scores"][:n], mask[:n].bool()) for clip, mask, n in zip(clips, labels, frames, strict=True)]
    expected = {
        "m_j": pytest.approx(np.mean([jaccard(*pair) for pair in pairs])),
        "m_f": pytest.approx(np.mean([f_score(*pair) for pair in pairs])),
    }
    compute_metrics = AussTrainerMetrics()
    for _ in range(2):
        assert compute_metrics(EvalPrediction(logits[:2], labels[:2]), compute_result=False) == {}
        assert compute_metrics(EvalPrediction(logits[2:].numpy(), labels[2:].numpy()), compute_result=True) == expected
    # By default all batches come in one call
    assert compute_metrics(EvalPrediction(logits.numpy(), labels.numpy())) == expected


def test_trainer_metrics_of_many_classes():
    """The official score is that at 224 x 224, the plain one that at the size of the labels. Padded frames do not
    count."""
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.rand(2, 3, 5, 4, 4, generator=generator), torch.randint(5, (2, 3, 4, 4))
    labels[0, 2] = 255  # the first clip has two frames, the second has three
    pairs = [(logits[0, :2], labels[0, :2]), (logits[1], labels[1])]
    plain = semantic_result([(clip.argmax(1), label) for clip, label in pairs], 5)
    fine = [torch.nn.functional.interpolate(clip, (224, 224), mode="bilinear").argmax(1) for clip, _ in pairs]
    coarse = [resize_labels(label, (224, 224)) for _, label in pairs]
    official = semantic_result(list(zip(fine, coarse, strict=True)), 5)
    metrics = AussTrainerMetrics(num_labels=5)
    expected = {name: pytest.approx(official[name]) for name in ("m_j", "m_f")}
    expected |= {name: pytest.approx(plain[name]) for name in ("plain_m_j", "plain_m_f")}
    assert metrics(EvalPrediction(logits, labels), compute_result=True) == expected
    assert official["m_j"] != official["plain_m_j"] != plain["plain_m_j"]
    # Each clip is a batch of its own, without padding.
    assert metrics(EvalPrediction(logits[:1, :2], labels[:1, :2]), compute_result=False) == {}
    assert metrics(EvalPrediction(logits[1:], labels[1:]), compute_result=True) == expected


def test_trainer_metrics_take_labels_of_several_sizes():
    generator = torch.Generator().manual_seed(0)
    logits = torch.rand(2, 2, 2, 8, 8, generator=generator)
    labels = [torch.randint(2, (2, *size), generator=generator) for size in ((12, 10), (6, 8))]
    clips = post_process_audio_visual_segmentation(type("Outputs", (), {"logits": logits})(), [(12, 10), (6, 8)])
    expected = np.mean([jaccard(clip["scores"], mask) for clip, mask in zip(clips, labels, strict=True)])
    assert AussTrainerMetrics()(EvalPrediction(logits, labels))["m_j"] == pytest.approx(expected)


def test_the_examples_of_the_documentation_run(s4_root, trained_folder, tmp_path, monkeypatch):
    """The first example gives the result of `auss evaluate`, the second the same for masks at the size of the
    network."""
    monkeypatch.chdir(tmp_path)
    text = (Path(auss.__file__).parent / "docs" / "metrics.md").read_text(encoding="utf-8")
    text = text.replace('"runs/s4"', repr(str(trained_folder))).replace('"DATA"', repr(str(s4_root)))
    first, second = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names = {}
    exec(first, names)
    expected = evaluate_folder(str(trained_folder), str(s4_root), workers=0)
    assert names["results"] == {"m_j": pytest.approx(expected["M_J"]), "m_f": pytest.approx(expected["M_F"])}
    exec(second, names)
    assert {"eval_loss", "eval_m_j", "eval_m_f"} <= names["results"].keys()
    metric = MeanJaccard(keep_in_memory=True)
    for row in load_avsbench(s4_root, "s4", "val"):
        inputs = names["trainer"].data_collator([row])
        with torch.no_grad():
            clips = names["processor"].post_process_audio_visual_segmentation(names["model"](**inputs), [(32, 32)])
        metric.add(prediction=clips[0]["scores"], reference=inputs["labels"][0])
    assert names["results"]["eval_m_j"] == pytest.approx(metric.compute()["m_j"])


TRAINER = """
import json, sys
from transformers import Trainer, TrainingArguments
from auss import AussDataCollator, AussForAudioVisualSegmentation, AussProcessor, AussTrainerMetrics, load_avsbench

folder, root, output = sys.argv[1:]
trainer = Trainer(
    model=AussForAudioVisualSegmentation.from_pretrained(folder),
    args=TrainingArguments(
        folder, per_device_eval_batch_size=1, batch_eval_metrics=True, remove_unused_columns=False, use_cpu=True
    ),
    data_collator=AussDataCollator(AussProcessor.from_pretrained(folder), train=True),
    eval_dataset=load_avsbench(root, "s4", "val"),
    compute_metrics=AussTrainerMetrics(),
)
results = trainer.evaluate()
if trainer.is_world_process_zero():
    with open(output, "w") as file:
        json.dump(results, file)
"""


@pytest.mark.slow
def test_a_trainer_of_two_processes_counts_each_clip_once(odd_root, trained_folder, tmp_path):
    """There are three clips. Trainer gives one of them to both processes."""
    script = tmp_path / "trainer.py"
    script.write_text(TRAINER)
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    results = []
    for launcher in ([], ["-m", "torch.distributed.run", "--nproc_per_node", "2"]):
        output = tmp_path / f"results-{len(launcher)}.json"
        command = [sys.executable, *launcher, str(script), str(trained_folder), str(odd_root("s4")), str(output)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        results.append(json.loads(output.read_text()))
    alone, together = results
    assert together["eval_m_j"] == pytest.approx(alone["eval_m_j"], abs=1e-6)
    assert together["eval_m_f"] == pytest.approx(alone["eval_m_f"], abs=1e-6)

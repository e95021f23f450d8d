"""M_J, M_F and the metrics of AVSBench-semantic as modules of the `evaluate` library, and as a Trainer's
`compute_metrics`.

`evaluate.load(metric_path("m_j"))` loads them through the scripts in `metric_scripts/`. Each script only names a class
of this file. The formulas are in `metrics.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import evaluate
import torch
from datasets import Features, List, Value
from transformers import EvalPrediction

from ...configuration.configuration_auss import IGNORED_LABEL
from ...files.errors import InputError
from ...modeling_auss.outputs import AussSegmentationOutput
from ...processing.post_processing_auss import post_process_audio_visual_segmentation
from ..data.avss_palette import AVSS_NUM_LABELS
from ..data.collator import resize_labels
from .metrics import (
    OFFICIAL_SIZE,
    annotated_frames,
    class_means,
    class_scores,
    f_score,
    jaccard,
    mean,
    official_class_means,
    official_padding,
)

SCRIPTS = Path(__file__).parent / "metric_scripts"
CITATION = """@inproceedings{zhou2022audio,
  title     = {Audio-Visual Segmentation},
  author    = {Zhou, Jinxing and Wang, Jianyuan and Zhang, Jiayi and Sun, Weixuan and Zhang, Jing and Birchfield, Stan
               and Guo, Dan and Kong, Lingpeng and Wang, Meng and Zhong, Yiran},
  booktitle = {European Conference on Computer Vision},
  year      = {2022}
}"""
SCORES_AND_MASKS = """
Args:
    predictions: for each clip its scores (F, H, W), floats in [0, 1]: how surely a pixel sounds. Arrays, tensors or
        lists; clips may differ in frames and in size.
    references: for each clip its masks (F, H, W), boolean, or 0 and 1 with 255 throughout a frame that is not
        annotated: such frames are not scored.
    per_clip (`compute` only): True gives, in place of the mean, a list of each clip's figure in the order of their
        coming, process by process; None where no frame of a clip is annotated.
"""

CLASS_IDS = """
Args:
    predictions: for each clip the class of each pixel (F, H, W), integers from 0. Arrays, tensors or lists; clips may
        differ in frames and in size. The official figure is one of masks of 224 x 224.
    references: for each clip its classes (F, H, W), 255 where nothing is annotated.
    per_clip (`compute` only): True gives, in place of the means, a list for each clip, in the order of their coming,
        process by process: rows (class, sum of IoU, sum of F, frames), without padding; None where no frame of a clip
        is annotated.
"""


def metric_path(name: str) -> str:
    """Returns the path by which `evaluate.load` finds a metric of the AVSBench protocol:
    `evaluate.load(auss.metric_path("m_j"))`.

    Args:
        name: "m_j", the mean Jaccard index of S4 and MS3; "m_f", their mean F-score; "avss", both for the classes of
            AVSBench-semantic. Scores and masks of a clip are (F, H, W).

    Returns:
        The path of the metric's script in this package.

    Raises:
        ValueError: the name is not that of a metric.
    """
    path = SCRIPTS / f"{name}.py"
    if not path.is_file():
        names = sorted(script.stem for script in SCRIPTS.glob("*.py"))
        raise InputError(f"name must be one of {', '.join(names)}, got {name!r}")
    return str(path)


def score_masks(formula, prediction, reference) -> tuple[float, int]:
    """Applies `jaccard` or `f_score` to the annotated frames of a clip. Returns the score, 0 without such frames, and
    their number."""
    scores, masks = annotated_frames(prediction, reference)
    return (formula(scores, masks) if len(scores) else 0.0), len(scores)


class ClipMetric(evaluate.Metric, ABC):
    """A metric of whole clips. Each clip is scored when it is added, and only its scores are kept. So clips of
    different sizes can be added together, and maps fill neither memory nor disk.

    Processes that share a folder work together as with any metric: `evaluate.load(path, num_process=2, process_id=0,
    experiment_id="run 1")`. Then `compute` returns the result on process 0 and None on the others.
    """

    key: str  # the name of the score in the result
    summary: str
    usage = SCORES_AND_MASKS
    # The stored type of a clip's `predictions` is that of its scores. Its `references` are stored as the number of its
    # annotated frames.
    figures: Any = Value("float64")

    @abstractmethod
    def score(self, prediction, reference) -> tuple[Any, int]:
        """Returns the scores of one clip, and how many frames are annotated. Predictions and references are (F, H,
        W)."""

    @abstractmethod
    def summarise(self, figures: list) -> dict[str, Any]:
        """Returns the result from the scores of at least one clip."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.summary,
            citation=CITATION,
            inputs_description=self.usage,
            features=Features(
                {
                    "predictions": List(List(List(Value("float32")))),
                    "references": List(List(List(Value("int64")))),
                }
            ),
            reference_urls=["https://arxiv.org/abs/2207.05042"],
        )

    def _infer_feature_from_batch(self, batch) -> Features:
        """Returns the types of the stored scores. Other metrics store the added values themselves."""
        return Features({"predictions": self.figures, "references": Value("int64")})

    def add(self, *, prediction=None, reference=None, **kwargs) -> None:
        """Scores one clip: its prediction and its reference are (F, H, W).

        Raises:
            ValueError: shapes or values do not fit a clip.
        """
        # `evaluate.combine` passes the plural names.
        prediction, reference = kwargs.pop("predictions", prediction), kwargs.pop("references", reference)
        self.add_batch(predictions=[prediction], references=[reference], **kwargs)

    def add_batch(self, *, predictions: Iterable = (), references: Iterable = (), **kwargs) -> None:
        """Scores several clips: each prediction and its reference are (F, H, W). If one clip is refused, no clip is
        kept.

        Raises:
            ValueError: shapes or values do not fit a clip, or other arguments are given.
        """
        if kwargs:
            raise InputError(f"{self.key} takes predictions and references, got {', '.join(sorted(kwargs))}")
        predictions, references = list(predictions), list(references)
        if len(predictions) != len(references):
            raise InputError(
                f"predictions and references must hold equally many clips, got {len(predictions)} and "
                f"{len(references)}"
            )
        scored = []
        for index, pair in enumerate(zip(predictions, references, strict=True)):
            try:
                scored.append(self.score(*pair))
            except (ValueError, TypeError) as error:
                raise InputError(f"clip {index} of {len(predictions)}: {error}") from error
        figures, frames = ([values[part] for values in scored] for part in (0, 1))
        super().add_batch(predictions=figures, references=frames)

    def compute(self, *, predictions=None, references=None, **kwargs) -> dict[str, Any] | None:
        """Returns the result over all added clips and over the clips given here. Afterwards the metric holds no clips.

        Raises:
            ValueError: no clip with an annotated frame was added.
        """
        if self.writer is None and predictions is None and references is None:
            # A process without clips must take part, or the other processes would wait for it.
            self.add_batch()
        result = super().compute(predictions=predictions, references=references, **kwargs)
        if result == {}:
            raise InputError(f"no clip with an annotated frame was added, so there is no {self.key}")
        return result

    def _compute(self, *, predictions: list, references: list[int], per_clip: bool = False) -> dict[str, Any]:
        clips = [figures if frames else None for figures, frames in zip(predictions, references, strict=True)]
        if per_clip:
            return {self.key: clips}
        scored = [figures for figures in clips if figures is not None]
        # An error raised here would leave the cache file locked. An empty result tells `compute` to raise it.
        return self.summarise(scored) if scored else {}


class MeanJaccard(ClipMetric):
    """M_J: the mean over clips of the mean over frames of the Jaccard index of (score > 0.5) and the mask.

    Predictions are scores (F, H, W) in [0, 1], references masks (F, H, W). `compute()` gives {"m_j": float}.
    """

    key = "m_j"
    summary = "M_J of AVSBench: the mean over clips of the mean over frames of the Jaccard index at score > 0.5."

    def score(self, prediction, reference) -> tuple[float, int]:
        return score_masks(jaccard, prediction, reference)

    def summarise(self, figures: list[float]) -> dict[str, float]:
        return {"m_j": mean(figures)}


class MeanFScore(ClipMetric):
    """M_F: the mean over clips of the F-score (beta squared 0.3), which is the largest over 255 thresholds.

    Predictions are scores (F, H, W) in [0, 1], references masks (F, H, W). `compute()` gives {"m_f": float}.
    """

    key = "m_f"
    summary = "M_F of AVSBench: the mean over clips of the largest F-score (beta squared 0.3) over 255 thresholds."

    def score(self, prediction, reference) -> tuple[float, int]:
        return score_masks(f_score, prediction, reference)

    def summarise(self, figures: list[float]) -> dict[str, float]:
        return {"m_f": mean(figures)}


class SemanticScores(ClipMetric):
    """M_J and M_F of AVSBench-semantic: each class is averaged over the frames in which it occurs, and then the
    classes are averaged.

    Predictions and references are class ids (F, H, W). `compute()` gives the scores of the official code as "m_j",
    "m_f" and "classes", {class id: {"J", "F", "frames"}}: clips of fewer than 10 frames are padded with background,
    and the mean is over all K classes. It also gives "plain_m_j", "plain_m_f" and "plain_classes", without padding and
    over the classes that occur. Masks are scored at the size in which they are added. The official code scores them at
    224 x 224.

    Args:
        num_labels: K, the number of classes; `evaluate.load(path, num_labels=K)`.
        kwargs: the arguments that every metric of `evaluate` takes.
    """

    key = "avss"
    summary = "M_J and M_F of AVSBench-semantic: the means over classes of IoU and F-score (beta squared 0.3)."
    usage = CLASS_IDS
    figures = {"rows": List(List(Value("float64"))), "padding": Value("int64")}

    def __init__(self, *args, num_labels: int = AVSS_NUM_LABELS, **kwargs):
        super().__init__(*args, **kwargs)
        self.num_labels = num_labels

    def score(self, prediction, reference) -> tuple[dict[str, Any], int]:
        rows, frames = class_scores(prediction, reference, self.num_labels)
        return {"rows": rows.tolist(), "padding": official_padding(len(reference))}, frames

    def summarise(self, figures: list[dict[str, Any]]) -> dict[str, Any]:
        rows = [clip["rows"] for clip in figures]
        official = official_class_means(rows, sum(clip["padding"] for clip in figures), self.num_labels)
        plain = class_means(rows)
        names = {"M_J": "m_j", "M_F": "m_f", "classes": "classes"}
        return {names[key]: value for key, value in official.items()} | {
            f"plain_{names[key]}": value for key, value in plain.items()
        }

    def _compute(self, *, predictions: list, references: list[int], per_clip: bool = False) -> dict[str, Any]:
        result = super()._compute(predictions=predictions, references=references, per_clip=per_clip)
        if per_clip:
            result[self.key] = [clip and clip["rows"] for clip in result[self.key]]
        return result


def picture_size(labels: torch.Tensor) -> tuple[int, int]:
    """Returns height and width of (F, H, W) labels."""
    _, height, width = labels.shape
    return height, width


def annotated_part(labels: torch.Tensor) -> torch.Tensor:
    """Returns the frames of (F, H, W) labels up to the last annotated frame, or else the first frame. Later frames may
    be padding."""
    annotated = (labels != IGNORED_LABEL).flatten(1).any(1).nonzero()
    return labels[: int(annotated[-1]) + 1 if len(annotated) else 1]


class AussTrainerMetrics:
    """`compute_metrics` of a `transformers.Trainer` that runs with `batch_eval_metrics=True`.

    Each batch is scored when it arrives, so evaluation needs the same memory for a thousand batches as for one.

    ```python
    Trainer(model, TrainingArguments(..., batch_eval_metrics=True), compute_metrics=AussTrainerMetrics(), ...)
    ```

    Args:
        num_labels: the number of labels of the model. Two labels give M_J and M_F of S4 and MS3, more labels give
            those of AVSBench-semantic.
    """

    def __init__(self, num_labels: int = 2):
        self.semantic = num_labels > 2
        if self.semantic:
            self.metrics = [SemanticScores(num_labels=num_labels, keep_in_memory=True) for _ in range(2)]
        else:
            self.metrics = [MeanJaccard(keep_in_memory=True), MeanFScore(keep_in_memory=True)]

    def _add_semantic(self, logits: torch.Tensor, labels: list[torch.Tensor]) -> None:
        """Scores a batch with the first metric at the official size, and with the second metric at the size of the
        labels."""
        labels = [annotated_part(clip) for clip in labels]
        resized = [resize_labels(clip, OFFICIAL_SIZE) for clip in labels]
        for metric, references in zip(self.metrics, (resized, labels), strict=True):
            clips = post_process_audio_visual_segmentation(
                AussSegmentationOutput(logits=logits), [picture_size(clip) for clip in references]
            )
            metric.add_batch(
                predictions=[clip["segmentation"][: len(own)] for clip, own in zip(clips, labels, strict=True)],
                references=references,
            )

    def _add_scores(self, logits: torch.Tensor, labels: list[torch.Tensor]) -> None:
        """Scores sounding against silent in a batch, each clip at the size of its labels."""
        clips = post_process_audio_visual_segmentation(
            AussSegmentationOutput(logits=logits), [picture_size(clip) for clip in labels]
        )
        for metric in self.metrics:
            metric.add_batch(predictions=[clip["scores"] for clip in clips], references=labels)

    def __call__(self, prediction: EvalPrediction, compute_result: bool = True) -> dict[str, float]:
        """Scores a batch. With `compute_result` it returns the result over all batches since the last result.

        Args:
            prediction: `predictions` is the model's `logits` (B, F, K, h, w) in [0, 1]. `label_ids` is the labels
                (B, F, H, W) with 255 where nothing is annotated, or a list of labels for each clip if they differ in
                size. Frames after the last annotated frame of a clip count as padding.
            compute_result: True for the last batch.

        Returns:
            {"m_j", "m_f"} after the last batch, and {} before. With more than two labels "m_j" and "m_f" are those of
            the official code, for masks at 224 x 224. "plain_m_j" and "plain_m_f" are then added, without padding and
            for masks at the size of the labels.
        """
        logits = torch.as_tensor(prediction.predictions)
        # If processes have clips of unequal frame counts, Trainer pads the labels with -100.
        labels = [torch.as_tensor(clip) for clip in prediction.label_ids]
        labels = [torch.where(clip < 0, IGNORED_LABEL, clip) for clip in labels]
        (self._add_semantic if self.semantic else self._add_scores)(logits, labels)
        if not compute_result:
            return {}
        computed: list[dict[str, Any]] = [metric.compute() or {} for metric in self.metrics]
        if self.semantic:
            official, plain = computed
            computed = [
                {name: value for name, value in official.items() if not name.startswith("plain_")},
                {name: value for name, value in plain.items() if name.startswith("plain_")},
            ]
        return {name: value for one in computed for name, value in one.items() if isinstance(value, float)}


__all__ = ["AussTrainerMetrics", "MeanFScore", "MeanJaccard", "SemanticScores", "metric_path"]

"""`auss figures` draws the paper's Fig. 5-6, the segmentation of a model frame by frame, and Fig. 7, its queries by
t-SNE."""

import argparse
import importlib.util
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from ...files.errors import InputError, MissingPackageError
from ...files.new_contents import NewContents
from ...hub.trained_model import load_trained
from ..command_arguments import QUERY_CLIPS
from ..data.avsbench import load_avsbench
from ..data.loaders import check_labels_fit, create_eval_loader
from ..data.rows import SeededRows
from ..evaluation.evaluate import draw_clips, score_batches

# Sec. 4.5: "divide the audio queries into K_0 = 20 clusters".
NUM_CLUSTERS = 20
# The authors of t-SNE also project on principal components before t-SNE. The projection removes most of the noise of N
# * e dimensions.
PRINCIPAL_COMPONENTS = 50
# Up to this many rows t-SNE takes only seconds without the Barnes-Hut approximation.
EXACT_ROWS = 1_000
SHEET_FILE, QUERIES_FILE = "segmentation.png", "queries.png"


def collect_queries(model: nn.Module, loader: DataLoader) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Collects the queries before and after fusion. Each row holds all N queries of a clip or a frame one after the
    other.

    Args:
        model: a model in evaluation mode.
        loader: a loader made by `create_eval_loader`.

    Returns:
        A_0 (clips, N * e), A_L (frames, N * e), and the clip of each frame (frames,).
    """
    device = next(model.parameters()).device
    before, after, clips = [], [], []
    for batch in tqdm(loader, "queries", unit="batch", leave=False):
        inputs = {
            name: value.to(device) for name, value in batch.items() if torch.is_tensor(value) and name != "labels"
        }
        with torch.no_grad():
            outputs = model(**inputs)
        for audio_queries, fused_queries in zip(outputs.audio_queries, outputs.fused_queries, strict=True):
            clips += [len(before)] * len(fused_queries)
            before.append(audio_queries.flatten().float().cpu().numpy())
            after += list(fused_queries.flatten(1).float().cpu().numpy())
    return np.stack(before), np.stack(after), np.array(clips)


def principal_components(rows: np.ndarray) -> np.ndarray:
    """Projects (rows, features) on at most 50 principal components."""
    from sklearn.decomposition import PCA

    return PCA(min(PRINCIPAL_COMPONENTS, *rows.shape), random_state=0).fit_transform(rows)


def cluster(rows: np.ndarray, number: int = NUM_CLUSTERS) -> np.ndarray:
    """Clusters (rows, features) by principal components and k-means into labels 0 ... number - 1. Fewer rows give
    fewer clusters."""
    from sklearn.cluster import KMeans

    distinct = len(np.unique(rows, axis=0))
    if distinct == 1:
        return np.zeros(len(rows), np.int32)
    return KMeans(min(number, distinct), random_state=0).set_params(n_init=10).fit_predict(principal_components(rows))


def embed(rows: np.ndarray) -> np.ndarray:
    """Embeds (rows, features) to (rows, 2) by t-SNE [36]."""
    from sklearn.manifold import TSNE

    if np.ptp(rows, axis=0).max() == 0:  # scikit-learn would divide by the spread of the rows
        return np.zeros((len(rows), 2))
    # The perplexity, 30 by default, must be less than the number of rows.
    perplexity = min(30.0, max(1.0, (len(rows) - 1) / 3))
    method = "exact" if len(rows) <= EXACT_ROWS else "barnes_hut"
    tsne = TSNE(perplexity=perplexity, init="pca", method=method, random_state=0)
    return tsne.fit_transform(principal_components(rows))


def draw_queries(before: np.ndarray, after: np.ndarray, clips: np.ndarray, path: Path) -> Path:
    """
    Draws Fig. 7: the queries before and after fusion. A point before fusion is a clip, and a point after fusion is a
    frame. Each colour is a cluster of the queries before fusion, and a frame has the colour of its clip.

    Args:
        before, after, clips: the results of `collect_queries` for at least three clips.
        path: the path of the picture file.

    Raises:
        ValueError: fewer than three clips.
    """
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if len(before) < 3:
        raise InputError(f"t-SNE needs three clips or more, got {len(before)}")
    labels = cluster(before)
    figure = Figure(figsize=(11, 5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = (
        (f"$A_0$: audio queries of {len(before)} clips", embed(before), labels),
        (f"fused queries of their {len(after)} frames", embed(after), labels[clips]),
    )
    for axes, (title, points, colours) in zip(figure.subplots(1, 2), panels, strict=True):
        for number in np.unique(labels).tolist():
            chosen = points[colours == number]
            axes.scatter(*chosen.T, color=colormaps["tab20"](number), s=16, label=str(number))
        axes.set(title=title, xticks=[], yticks=[])
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, title="cluster of the\nclip's audio queries", loc="outside right upper", ncols=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def spread(dataset: Dataset, number: int) -> SeededRows:
    """Returns at most `number` rows, evenly spread over the data set."""
    return SeededRows(dataset.select(sorted({index * len(dataset) // number for index in range(number)})))


def draw_figures(
    model_folder: str,
    data: str,
    output: str | Path,
    name: str = "ms3",
    split: str = "test",
    clips: int = 8,
    query_clips: int = QUERY_CLIPS,
    batch_size: int = 4,
    workers: int | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """
    Draws both figures of a trained model.

    Args:
        model_folder: the folder that `auss train` wrote.
        data, name, split: the data set, as `load_avsbench` takes it. The paper shows the test split of ms3.
        output: the folder for the pictures.
        clips: the number of clips in the sheet, evenly spread over the split. Clips without annotation are left out.
        query_clips: the largest number of clips whose queries Fig. 7 shows, evenly spread over the split. The queries
            of a clip take F N e numbers in memory: 3 MB with AVSS' 10 frames and 300 queries of 256 features.
        batch_size: the number of clips in a batch.
        workers: the number of processes that decode clips. None selects a number for the machine.
        overwrite: True replaces pictures of the same names.

    Returns:
        The paths of the written files.

    Raises:
        FileExistsError: such pictures exist, and `overwrite` is False.
        ValueError: the model has other labels than the data set, there are fewer than three clips, or no clip of the
            sheet is annotated.
        ImportError: scikit-learn is missing.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise MissingPackageError("figures need scikit-learn: pip install scikit-learn")
    files = [Path(output) / file for file in (QUERIES_FILE, SHEET_FILE)]
    existing = [str(path) for path in files if path.exists()]
    if existing and not overwrite:
        raise FileExistsError(f"{' and '.join(existing)} exist: choose another output, or allow it with --overwrite")
    model, processor = load_trained(model_folder)
    check_labels_fit(model, name, data, model_folder)
    if torch.cuda.is_available():
        model = model.cuda()
    dataset = load_avsbench(data, name, split)
    num_labels = model.config.num_labels
    loader = create_eval_loader(spread(dataset, query_clips), processor, num_labels, batch_size, workers)
    queries = collect_queries(model, loader)
    shown = spread(dataset, clips)
    shown_loader = create_eval_loader(shown, processor, num_labels, 1, workers)
    records = [one for one in score_batches(model, processor, shown_loader, num_labels) if one["frames"]]
    if not records:
        raise InputError(f"none of the {len(shown)} clips for the sheet has an annotated frame: show more clips")
    with NewContents(output, "figures") as folder:
        draw_queries(*queries, folder.new / QUERIES_FILE)
        draw_clips(model, processor, loader.collate_fn, shown, records, folder.new / SHEET_FILE)
        folder.install()
    return files


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    options = vars(arguments)
    names = ("data", "output", "name", "split", "clips", "query_clips", "batch_size", "workers", "overwrite")
    for path in draw_figures(arguments.model, **{name: options[name] for name in names}):
        print(path)
    return 0


__all__ = ["cluster", "collect_queries", "draw_figures", "draw_queries", "embed", "run"]

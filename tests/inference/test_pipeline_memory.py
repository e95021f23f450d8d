"""The pipeline keeps only masks in memory, and with `stream` not even these."""

import gc
import itertools
import subprocess
import sys
import tracemalloc

import pytest
import torch


def live_tensor_bytes():
    tensors = [value for value in gc.get_objects() if type(value) is torch.Tensor]
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)


@pytest.mark.parametrize("stride", [None, 2.0])
def test_a_list_gathers_masks_but_no_logits(segmenter, make_video, stride):
    """The number of live tensors is the same at the end of half a minute as after its first seconds."""
    live, passes = [], itertools.count()

    def record(*_):
        next(passes)
        live.append(live_tensor_bytes())

    segmenter.model.register_forward_hook(record)
    assert len(segmenter(make_video("clip.mkv", seconds=30.0, fps=5), stride=stride)) == 150
    half = len(live) // 2  # the passes of a window hold more and less, so the least of each half is compared
    assert half >= 2 and min(live[half:]) <= min(live[:half]) + 100_000  # logits are 2 KB a frame, inputs 12 KB


def test_a_stream_gathers_nothing(segmenter, make_video):
    tracemalloc.start()
    peaks = []
    for index, _ in enumerate(segmenter(make_video("clip.mkv", seconds=30.0, fps=5), stream=True)):
        if index in (50, 149):
            peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert peaks[1] < peaks[0] + 200_000  # a mask and its scores are 15 KB a frame


STREAMING = """
import resource, sys
import torch
from auss import AussForAudioVisualSegmentation, AussProcessor
from auss.inference.pipeline import AudioVisualSegmentationPipeline

folder, *videos = sys.argv[1:]
segmenter = AudioVisualSegmentationPipeline(
    model=AussForAudioVisualSegmentation.from_pretrained(folder).eval(),
    processor=AussProcessor.from_pretrained(folder),
    device=-1,
)
for video in videos:
    frames = sum(1 for _ in segmenter(video, stream=True, stride=2.5))
    print(frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_an_hour_needs_the_memory_of_ten_seconds(model_folder, make_video):
    videos = [make_video(f"{seconds}.mp4", seconds=seconds, fps=5) for seconds in (10, 3600)]
    done = subprocess.run(
        [sys.executable, "-c", STREAMING, str(model_folder), *map(str, videos)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (short, before), (long, after) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert (short, long) == (50, 18_000)
    assert after - before < 40_000  # KiB; an hour of logits would be 9 GB

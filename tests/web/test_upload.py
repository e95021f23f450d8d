import json
import logging
import threading
import zipfile
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from auss.files.errors import InputError
from auss.inference.media.video_reader import VideoReader
from auss.inference.pipeline import AudioVisualSegmentationPipeline
from auss.inference.results.run_report import report_lines
from auss.inference.results.sounding_times import summarise
from auss.inference.segment import segment_video
from auss.inference.worker_threads import ahead
from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from auss.web.jobs import CancelledError, Job
from auss.web.settings import Limits
from auss.web.upload import (
    Warnings,
    found_lines,
    open_upload,
    segment_upload,
    shown_mask,
    visible_text,
)

OPTIONS: dict[str, Any] = {"fps": 2.0, "threshold": 0.2}


def segmented(video, folder, model, processor, on_progress=lambda done, seconds: None, job=None):
    return segment_upload(video, job or Job(folder), (model, processor), OPTIONS, Limits(), on_progress, "tiny")


def test_an_upload_gives_the_masks_that_segment_gives(make_video, tmp_path, tiny_model, tiny_processor):
    video, seen = make_video("my video.mp4", seconds=2.0), []
    result = segmented(video, tmp_path / "job", tiny_model, tiny_processor, lambda *done: seen.append(done))
    expected = list(segment_video(video, tiny_model, tiny_processor, **OPTIONS))
    assert [path.name for path in (result.video, result.archive, result.times)] == [
        "my video_marked.mp4",
        "my video_masks.zip",
        "my video_times.json",
    ]
    assert len(list(VideoReader(result.video).frames())) == 20 and VideoReader(result.video).info.has_audio
    listed = json.loads(result.times.read_text())
    assert [one["time"] for one in listed["masks"]] == [0.0, 0.5, 1.0, 1.5] and listed["threshold"] == 0.2
    with zipfile.ZipFile(result.archive) as packed:
        assert sorted(packed.namelist()) == sorted([result.times.name, *(one["file"] for one in listed["masks"])])
        for one, mask in zip(listed["masks"], expected, strict=True):
            picture = np.asarray(Image.open(packed.open(one["file"])))
            assert (picture > 0).tolist() == (mask.segmentation > 0).tolist()
            assert one["share"] == pytest.approx((mask.segmentation > 0).mean(), abs=1e-4)
            assert one["score"] == pytest.approx(mask.scores.max(), abs=1e-3)
    assert len(seen) == 20 and seen == sorted(seen) and {seconds for _, seconds in seen} == {2.0}


def test_a_cancelled_upload_stops_within_a_batch_and_leaves_nothing(make_video, tmp_path, tiny_model, tiny_processor):
    job, seen = Job(tmp_path / "job"), []

    def on_progress(done, seconds):
        seen.append(done)
        job.stop.set()

    with pytest.raises(CancelledError):
        segmented(make_video("video.mp4", seconds=3.0), job.folder, tiny_model, tiny_processor, on_progress, job)
    assert seen == [0.0] and not job.folder.exists()


def test_a_job_that_was_cancelled_in_the_queue_never_starts(make_video, tmp_path, tiny_model, tiny_processor):
    job = Job(tmp_path / "job")
    job.stop.set()
    with pytest.raises(CancelledError):
        segmented(make_video("video.mp4"), job.folder, tiny_model, tiny_processor, job=job)
    assert not job.folder.exists()


@pytest.mark.parametrize(
    ("limits", "words"),
    [(Limits(seconds=1), "at most 1 s"), (Limits(pixels=100), "64 x 48"), (Limits(bytes=100), "MB")],
)
def test_an_upload_over_a_limit_is_refused_before_the_work(make_video, limits, words):
    video = make_video("video.mp4")
    open_upload(video, Limits())
    with pytest.raises(InputError, match=words):
        open_upload(video, limits)


def test_errors_name_the_file_and_not_its_place_on_the_server(tmp_path):
    video = tmp_path / "it's a\ttext.mp4"
    video.write_text("no video at all")
    with pytest.raises(InputError) as caught:
        open_upload(video, Limits())
    text = visible_text(caught.value, video)
    assert "text.mp4" in text and str(tmp_path) not in text and "\t" not in text


def test_a_video_without_sound_says_so(make_video, tmp_path, tiny_model, tiny_processor):
    result = segmented(make_video("video.mp4", sound=False), tmp_path / "job", tiny_model, tiny_processor)
    assert any("no sound" in line for line in result.warnings)
    assert found_lines(result)[0] == "there is no sound, so nothing sounds"


def test_warnings_of_other_threads_are_not_collected():
    logger = logging.getLogger("auss.inference")
    with Warnings() as warnings:
        logger.warning("mine")
        thread = threading.Thread(target=logger.warning, args=("yours",))
        thread.start()
        thread.join()
    logger.warning("later")
    assert warnings.lines == ["mine"]


def test_warnings_of_the_threads_that_work_for_a_visitor_are_collected():
    logger = logging.getLogger("auss.inference")

    def warns():
        logger.warning("from the thread that reads ahead")
        yield 0

    with Warnings() as warnings:
        assert list(ahead(warns(), 1)) == [0]
    assert warnings.lines == ["from the thread that reads ahead"]


def test_classes_are_shown_in_colours(make_video, tmp_path, make_config, tiny_processor):
    torch.manual_seed(0)
    model = AussForAudioVisualSegmentation(make_config(num_labels=5)).eval()
    result = segmented(make_video("video.mp4", seconds=1.0), tmp_path / "job", model, tiny_processor)
    ids = np.asarray(Image.open(result.mask_folder / result.masks[0].file))
    shown = np.asarray(Image.open(shown_mask(result, 0)))
    assert shown.shape == (*ids.shape, 3) and ids.any()
    assert (shown[ids == 0] == 0).all() and (shown[ids > 0].max(axis=-1) > 100).all()
    two_labels = replace(result, config=make_config())
    assert shown_mask(two_labels, 0) == result.mask_folder / result.masks[0].file


def test_the_page_says_what_segment_says(make_video, tmp_path, tiny_model, tiny_processor):
    result = segmented(make_video("video.mp4", seconds=2.0), tmp_path / "job", tiny_model, tiny_processor)
    segmenter = AudioVisualSegmentationPipeline(model=tiny_model, processor=tiny_processor, device=-1)
    expected = summarise(segmenter(str(tmp_path / "video.mp4"), **OPTIONS), end=result.seconds)
    assert result.summary == expected and expected["sounding_seconds"]
    assert json.loads(result.times.read_text())["summary"] == expected
    assert found_lines(replace(result, masks=[])) == ["the video has no frame that could be read"]
    nothing = {**expected, "sounding_seconds": 0.0}
    highest = max(one.score for one in result.masks)
    words = f"nothing was found to sound in 4 masks: the highest score is {highest:.2f}"
    assert found_lines(replace(result, summary=nothing))[0] == words
    assert found_lines(result, ["bells"]) == report_lines(expected, tiny_model.config, ["bells"])

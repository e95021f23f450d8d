"""Inputs and parameters that the pipeline refuses, each with an error that names it."""

import pytest

from auss.inference.pipeline import TASK, AudioVisualSegmentationPipeline


def test_videos_that_are_refused(segmenter, make_video, tmp_path):
    with pytest.raises(ValueError, match="song.mp3 holds only sound"):
        segmenter(make_video("song.mp3", picture=False, codecs=(None, "libmp3lame")))
    empty, text = tmp_path / "empty.mp4", tmp_path / "text.mp4"
    empty.touch()
    text.write_text("not a video")
    with pytest.raises(ValueError, match="is empty"):
        segmenter(empty)
    with pytest.raises(ValueError, match="it is no media file"):
        segmenter(str(text))
    with pytest.raises(IsADirectoryError, match="got the directory"):
        segmenter(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no such file"):
        segmenter(str(tmp_path / "nowhere.mp4"))


@pytest.mark.parametrize("inputs", [3.5, ("a.mp4",), b"a.mp4"])
def test_inputs_of_another_kind_are_refused(segmenter, inputs):
    with pytest.raises(ValueError, match=f"must be a video's path or URL, or a dict .*, got {type(inputs).__name__}"):
        segmenter(inputs)


def test_dicts_that_are_refused(segmenter, clip):
    with pytest.raises(ValueError, match=r"got none for \['audio'\] and unknown \[\]"):
        segmenter({"frames": []})
    with pytest.raises(ValueError, match=r"got none for \[\] and unknown \['fps'\]"):
        segmenter({**clip, "fps": 5})
    with pytest.raises(ValueError, match="frames must hold at least one picture"):
        segmenter({**clip, "frames": []})
    with pytest.raises(ValueError, match="sampling_rate is missing"):
        segmenter({**clip, "sampling_rate": None})


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        ("fps", 0, "fps must be a positive number"),
        ("window", 6, "window must be a positive number of seconds, at most the 5 s"),
        ("stride", 5.5, "stride must be a positive number of seconds, at most window=5 s"),
        ("threshold", 1.5, "threshold must be a number from 0 to 1"),
        ("batch_size", 0, "batch_size must be a whole number"),
        ("batch_size", 2.5, "batch_size must be a whole number"),
        ("audio_track", 0, "audio_track must be the number of a sound track, from 1, or None, got 0"),
        ("return_queries", 1, "return_queries must be True or False"),
        ("stream", "yes", "stream must be True or False"),
        (
            "top_k",
            3,
            "takes fps, window, stride, threshold, audio_track, return_queries, stream, separate_objects, "
            "min_area and batch_size, got top_k",
        ),
    ],
)
def test_wrong_parameters_when_making_and_when_calling(
    tiny_model, tiny_processor, segmenter, parameter, value, message
):
    with pytest.raises(ValueError, match=message):
        segmenter("x.mp4", **{parameter: value})
    with pytest.raises(ValueError, match=message):
        AudioVisualSegmentationPipeline(
            model=tiny_model, processor=tiny_processor, task=TASK, device=-1, **{parameter: value}
        )


def test_stride_of_the_pipeline_and_window_of_the_call(tiny_model, tiny_processor, clip):
    made = AudioVisualSegmentationPipeline(model=tiny_model, processor=tiny_processor, device=-1, stride=3)
    with pytest.raises(ValueError, match="stride must be .* at most window=2 s"):
        made(clip, window=2)

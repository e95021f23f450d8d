"""The Transformers pipeline gives the masks of `auss segment`, from a file, a URL and arrays, and streams them."""

import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

import auss
from auss.hub.flat_code import code_files
from auss.inference.media.containers.decoding import DamagedVideoError
from auss.inference.pipeline import TASK, AudioVisualSegmentationPipeline, register_pipeline
from auss.inference.segment import segment_video
from auss.processing.row_formats import plain_row


@pytest.fixture
def red_segmenter(segmenter, red_sounds):
    """A pipeline whose results are known."""
    segmenter.model = red_sounds
    return segmenter


def assert_same(frames, others):
    assert len(frames) == len(others) > 0
    for segments, expected in zip(frames, others, strict=True):
        for segment, other in zip(segments, expected, strict=True):
            assert {**segment, "mask": 0} == {**other, "mask": 0}
            np.testing.assert_array_equal(np.asarray(segment["mask"]), np.asarray(other["mask"]))


def test_a_model_without_heads_is_refused(tiny_model, tiny_processor, tmp_path):
    """Transformers only warns and gives missing heads random weights."""
    tiny_model.auss.save_pretrained(tmp_path)
    tiny_processor.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"{tmp_path} was saved from AussModel, without heads"):
        pipeline(TASK, model=str(tmp_path), device=-1)
    with pytest.raises(ValueError, match="must be an AussForAudioVisualSegmentation, got AussModel, without heads"):
        AudioVisualSegmentationPipeline(model=tiny_model.auss, processor=tiny_processor, device=-1)
    loaded = auss.AussForAudioVisualSegmentation.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="save the model first"):
        AudioVisualSegmentationPipeline(model=loaded, processor=tiny_processor, device=-1)
    loaded.save_pretrained(tmp_path)  # as after training
    assert AudioVisualSegmentationPipeline(model=loaded, processor=tiny_processor, device=-1).model is loaded
    assert pipeline(TASK, model=str(tmp_path), device=-1).model.config.architectures == [type(loaded).__name__]


def test_loads_through_transformers(model_folder):
    register_pipeline()
    register_pipeline()
    loaded = pipeline(TASK, model=str(model_folder), device=-1, fps=2, window=4, batch_size=3)
    assert isinstance(loaded, AudioVisualSegmentationPipeline)
    assert type(loaded.processor).__name__ == "AussProcessor"
    assert loaded._preprocess_params == {"fps": 2, "window": 4} and loaded._batch_size == 3


@pytest.mark.parametrize(
    "settings", [{}, {"window": 3.0}, {"stride": 1.5}, {"window": 4, "stride": 2, "threshold": 0.7}]
)
def test_gives_the_masks_of_segment_video(segmenter, make_video, tiny_processor, settings):
    path = make_video("clip.mp4", seconds=6.0)
    frames = segmenter(str(path), fps=2, batch_size=3, **settings)
    masks = list(segment_video(path, segmenter.model, tiny_processor, fps=2, batch_size=3, **settings))
    assert len(frames) == len(masks) == 12
    for (segment,), mask in zip(frames, masks, strict=True):
        assert segment.keys() == {"timestamp", "label", "score", "mask"}
        assert segment["label"] == "sounding" and segment["timestamp"] == mask.time
        assert segment["mask"].mode == "L" and segment["mask"].size == (64, 48)
        np.testing.assert_array_equal(np.asarray(segment["mask"]) > 0, mask.segmentation == 1)


def test_score_and_mask_of_a_known_answer(red_segmenter, make_video):
    (segment,) = red_segmenter(make_video("clip.mp4", seconds=1.0), fps=1)[0]
    mask = np.asarray(segment["mask"])
    assert set(np.unique(mask)) == {0, 255} and mask[30:, :28].all() and not mask[:18].any()
    assert 0.9 < segment["score"] <= 1
    (nothing,) = red_segmenter(make_video("mute.mp4", seconds=1.0, sound=False), fps=1)[0]
    assert nothing["score"] == 0 and not np.asarray(nothing["mask"]).any()


def test_url(segmenter, make_video, serve):
    path = make_video("clip.mp4", seconds=6.0)
    url = serve(path.parent) + "/clip.mp4"
    assert_same(segmenter(url, fps=2, stride=2.0), segmenter(path, fps=2, stride=2.0))
    with pytest.raises(ValueError, match="nowhere.mp4 cannot be opened: Server returned 404 Not Found"):
        segmenter(url.replace("clip", "nowhere"))


def test_arrays(segmenter, clip):
    results = segmenter([clip, {**clip, "timestamps": [0, 1, 2, 3, 4, 11, 12.5]}])
    assert [len(result) for result in results] == [7, 7]
    assert [result[5][0]["timestamp"] for result in results] == [5, 11]
    assert segmenter(clip, fps=1)[0][0]["mask"].size == (32, 24)
    decoded = {"array": clip["audio"], "sampling_rate": clip["sampling_rate"]}  # as datasets has it
    assert_same(segmenter({"frames": clip["frames"], "audio": decoded}), results[0])


class Clips(Dataset):
    """A data set that, unlike a list, raises no IndexError at its end."""

    def __init__(self, clip):
        self.clip = clip

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return {**self.clip, "frames": self.clip["frames"][index % 3 :]}


def test_several_inputs(segmenter, clip):
    expected = [segmenter(item) for item in (Clips(clip)[0], Clips(clip)[1], Clips(clip)[2])]
    assert [len(frames) for frames in expected] == [7, 6, 5]
    several = [Clips(clip)[index] for index in range(3)]
    listed, generated, data_set = segmenter(several), segmenter(iter_of(several)), segmenter(Clips(clip))
    keyed = segmenter(KeyDataset([{"clip": item} for item in several], "clip"))
    assert isinstance(listed, list) and not isinstance(data_set, list) and len(data_set) == 3
    for results in (listed, generated, data_set, keyed):
        for frames, other in zip(results, expected, strict=True):
            assert_same(frames, other)


def iter_of(items):
    yield from items


def test_stream(segmenter, clip, make_video):
    path = make_video("clip.mp4", seconds=3.0)
    streamed = segmenter(path, stream=True)
    assert isinstance(streamed, types.GeneratorType)
    assert_same(list(streamed), segmenter(path))
    first, second = segmenter([path, clip], stream=True)
    assert_same(list(second), segmenter(clip))
    assert_same(list(first), segmenter(path))
    for frames in segmenter(iter_of([path, path]), stream=True):
        assert len(list(frames)) == 15


def test_stream_reads_only_what_is_asked_for(red_segmenter, make_video, red_sounds):
    frames = red_segmenter(make_video("clip.mp4", seconds=60.0), stream=True, batch_size=4)
    next(frames)
    assert red_sounds.passes == [4]
    frames.close()


def test_refuses_before_the_first_frame(segmenter, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        segmenter(str(tmp_path / "nowhere.mp4"), stream=True)
    with pytest.raises(ValueError, match="fps must be"):
        segmenter("x.mp4", fps=0, stream=True)


def test_parameters_of_the_call_go_before_those_of_the_pipeline(tiny_model, tiny_processor, make_video):
    path = make_video("clip.mp4", seconds=2.0)
    made = AudioVisualSegmentationPipeline(model=tiny_model, processor=tiny_processor, device=-1, fps=1, batch_size=2)
    assert len(made(path)) == 2 and len(made(path, fps=5)) == 10 and len(made(path, fps=None)) == 20


def test_batch_size_is_the_frames_of_a_pass(red_segmenter, red_sounds, make_video):
    path = make_video("clip.mp4", seconds=4.0)
    for size, passes in ((None, [8, 8, 4]), (3, [3] * 6 + [2]), (50, [20])):
        red_sounds.passes.clear()
        red_segmenter(path, batch_size=size)
        assert red_sounds.passes == passes
    red_sounds.passes.clear()
    red_segmenter([path, path], batch_size=50)
    assert red_sounds.passes == [20, 20]


def test_threshold(segmenter, clip):
    def areas(threshold):
        return [np.asarray(segment["mask"]).mean() for (segment,) in segmenter(clip, threshold=threshold)]

    assert areas(0.5) == [np.asarray(segment["mask"]).mean() for (segment,) in segmenter(clip)]
    grid = [areas(threshold) for threshold in (0, 0.45, 0.5, 0.55, 1)]
    assert max(grid[0]) == 255 and grid[-1] == [0] * 7
    for low, high in zip(grid, grid[1:], strict=False):
        assert all(more >= less for more, less in zip(low, high, strict=True)) and low != high


def test_queries(segmenter, clip):
    audio = clip["audio"].copy()
    audio[: 4 * 8000] = 0
    frames = segmenter({**clip, "audio": audio}, window=4, return_queries=True)
    for position, (segment,) in enumerate(frames):
        found = [segment[name] for name in ("audio_queries", "fused_queries", "class_scores")]
        if position < 4:
            assert found == [None] * 3
        else:
            assert [tuple(value.shape) for value in found] == [(8, 16), (8, 16), (8, 3)]
            assert all(value.dtype == torch.float32 and not value.is_inference() for value in found)
            torch.testing.assert_close(found[2].sum(-1), torch.ones(8))


def test_more_labels(red_segmenter, red_sounds, make_video, caplog):
    red_sounds.config.id2label = {0: "silent", 1: "dog", 2: "guitar"}
    assert [[s["label"] for s in frame] for frame in red_segmenter(make_video("clip.mp4"), fps=1)] == [["dog"]] * 3
    assert red_segmenter(make_video("mute.mp4", sound=False), fps=1) == [[], [], []]
    assert "mute.mp4 has no sound track" in caplog.text


@pytest.mark.parametrize("stride", [5.0, 1.25])
def test_video_shorter_than_a_window(red_segmenter, make_video, stride):
    frames = red_segmenter(make_video("short.mp4", seconds=0.4), fps=None, stride=stride)
    assert [segment["timestamp"] for (segment,) in frames] == pytest.approx([0, 0.1, 0.2, 0.3], abs=1e-3)
    assert all(segment["score"] > 0.9 for (segment,) in frames)


def test_variable_frame_rate(red_segmenter, make_video):
    times = [0.0, 0.1, 0.5, 0.55, 2.0, 2.9, 5.2, 5.3]
    frames = red_segmenter(make_video("vfr.mp4", seconds=6.0, times=times), fps=None)
    assert [segment["timestamp"] for (segment,) in frames] == pytest.approx(times, abs=1e-3)
    assert len(red_segmenter(make_video("vfr.mkv", seconds=6.0, times=times), fps=2)) == 11  # one every half second


@pytest.mark.parametrize(
    ("rotation", "inside"),
    [(0, np.s_[30:, :28]), (90, np.s_[36:, 30:]), (180, np.s_[:18, 36:]), (-90, np.s_[:28, :18])],
)
def test_picture_turned_by_metadata(red_segmenter, make_video, rotation, inside):
    """The red quarter is stored at the lower left. Masks fit the picture as it is shown."""
    (segment,) = red_segmenter(make_video("turned.mp4", seconds=1.0, rotation=rotation), fps=1)[0]
    mask = np.asarray(segment["mask"]) > 0
    assert segment["mask"].size == ((48, 64) if rotation % 180 else (64, 48))
    assert mask[inside].all() and 0.2 < mask.mean() < 0.3


def test_broken_tail(red_segmenter, make_video):
    path = make_video("cut.mkv", seconds=8.0, size=(96, 128))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    streamed = []
    with pytest.raises(DamagedVideoError, match="is damaged"):
        for frame in red_segmenter(path, stream=True):
            streamed.append(frame)
    assert 10 < len(streamed) < 35
    with pytest.raises(
        DamagedVideoError, match=f"is damaged.* The {len(streamed)} frames that could .*`frames`"
    ) as caught:
        red_segmenter(str(path))
    assert_same(caught.value.frames, streamed)
    results = red_segmenter(iter_of([path, make_video("whole.mp4")]))
    with pytest.raises(DamagedVideoError):
        next(iter(results))
    assert len(next(results)) == 15  # one may go on with the next


def test_workers_are_not_used(segmenter, clip, caplog):
    segmenter([clip], num_workers=2)
    assert "num_workers=2 has no effect" in caplog.text


def test_nothing_of_the_command_line_is_imported():
    """A model repository holds the pipeline with every module that it imports, so it must not import the commands."""
    folder = Path(auss.inference.pipeline.__file__).resolve().parent
    found = {path.stem for path in code_files().values() if path.is_relative_to(folder)}
    assert found == {
        "pipeline",
        "array_clip",
        "audio_track",
        "channel_layouts",
        "clip_batches",
        "decoding",
        "display_matrix",
        "float_samples",
        "frame_filters",
        "frame_planes",
        "frame_segments",
        "frame_times",
        "matroska",
        "parameters",
        "separate_objects",
        "sound_changes",
        "sound_tracks",
        "sound_windows",
        "stream_clock",
        "timed_frame",
        "tone_mapping",
        "video_probe",
        "video_reader",
        "web_address",
    }


def test_the_sound_track_that_is_heard(red_segmenter, make_tracks):
    tone = (0.3 * np.sin(np.arange(48_000) / 5))[None].astype(np.float32)
    path = make_tracks("two.mkv", [0 * tone, tone])

    def sounds(**settings):
        return any(np.asarray(frame[0]["mask"]).any() for frame in red_segmenter(str(path), fps=2, **settings))

    assert sounds() and sounds(audio_track=2) and not sounds(audio_track=1)
    with pytest.raises(
        ValueError, match="audio_track must be the number of a sound track of .*two.mkv, got 3; it has 1"
    ):
        sounds(audio_track=3)


def test_channels_that_cancel_are_heard_in_a_file_and_in_an_array(red_segmenter, make_tracks, media):
    tone = media.tone(3.0, 16_000)[0]
    stereo = np.stack([tone, -tone])
    path = make_tracks("antiphase.mkv", [stereo], layout="stereo")
    frames = np.full((6, 48, 64, 3), (200, 30, 30), np.uint8)
    for inputs in (str(path), {"frames": frames, "audio": stereo, "sampling_rate": 16_000}):
        assert all(np.asarray(frame[0]["mask"]).any() for frame in red_segmenter(inputs, fps=2))


def test_nan_in_a_file_is_mended_and_in_an_array_refused(red_segmenter, make_tracks, media, caplog):
    tone = media.tone(3.0, 16_000)
    tone[:, 20_000] = np.nan
    found = red_segmenter(str(make_tracks("nan.mkv", [tone])), fps=2)
    assert all(np.asarray(frame[0]["mask"]).any() for frame in found)
    assert "1 samples of its sound are NaN, infinite or far beyond full scale" in caplog.text
    frames = np.zeros((2, 48, 64, 3), np.uint8)
    with pytest.raises(ValueError, match="audio must be finite, got 1 NaN or infinite samples out of 48000"):
        red_segmenter({"frames": frames, "audio": tone[0], "sampling_rate": 16_000})
    tone[:, 16_000:32_000] = np.nan
    with pytest.raises(DamagedVideoError, match="samples of its sound are NaN, infinite or far beyond full scale"):
        red_segmenter(str(make_tracks("lost.mkv", [tone])), fps=2)


def test_rows_of_a_data_set_are_inputs_in_every_format(red_segmenter, clip):
    """An input is an unchanged row of `load_avsbench`, its pictures decoded or not, or a data set of `datasets`."""
    import io

    import datasets
    import soundfile
    from PIL import Image

    def picture(pixels):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        return {"bytes": file.getvalue(), "path": None}

    pictures = [picture(frame) for frame in clip["frames"]]
    file = io.BytesIO()
    soundfile.write(file, clip["audio"], 8000, "FLOAT", format="WAV")
    sound = {"bytes": file.getvalue(), "path": None}
    row = {"clip_id": "a", "category": "dog", "frames": pictures, "masks": [], "annotated_frames": [], "audio": sound}
    features = {
        "clip_id": datasets.Value("string"),
        "category": datasets.Value("string"),
        "frames": datasets.List(datasets.Image()),
        "masks": datasets.List(datasets.Image()),
        "annotated_frames": datasets.List(datasets.Value("int32")),
        "audio": datasets.Audio(decode=False),
    }
    table = datasets.Dataset.from_dict(
        {name: [value, value] for name, value in row.items() if name != "audio"},
        features=datasets.Features({name: value for name, value in features.items() if name != "audio"}),
    )
    expected = red_segmenter(clip)
    assert_same(red_segmenter(row), expected)
    for row_format in (None, "torch", "numpy", "arrow", "pandas"):
        assert_same(red_segmenter({**plain_row(table.with_format(row_format)[0]), "audio": sound}), expected)
    import pyarrow as pa

    whole = datasets.Dataset(pa.Table.from_pylist([row, row], schema=datasets.Features(features).arrow_schema))
    assert_same(red_segmenter(whole.with_format("arrow")[0]), expected)
    results = list(red_segmenter(whole))
    assert len(results) == 2
    for frames in results:
        assert_same(frames, expected)

"""Segments files to masks and marked videos, with a network whose result is known and with a real one."""

import numpy as np
import pytest
import torch
from PIL import Image

from auss.cli import main
from auss.inference.clip_batches import FrameMask
from auss.inference.media.containers.decoding import DamagedVideoError
from auss.inference.media.video_reader import VideoReader
from auss.inference.segment import (
    earlier_masks,
    load_model,
    marked_frames,
    reader_masks,
    segment_video,
    write_marked,
    write_mask,
)
from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from auss.processing.drawing import class_colour, outline


def half_silent(media, seconds=12.0, rate=48_000):
    """A waveform whose tone sounds only in the second window of 5 s."""
    waveform = media.tone(seconds, rate)
    waveform[:, : 5 * rate] = 0
    waveform[:, 10 * rate :] = 0
    return waveform


@pytest.mark.parametrize("name", ["clip.mkv", "clip.mp4"])
def test_masks_follow_sound_and_picture(make_video, media, tiny_processor, red_sounds, name):
    codecs = ("libx264", "flac" if name.endswith("mkv") else "aac")
    path = make_video(name, seconds=12.0, waveform=half_silent(media), codecs=codecs)
    masks = list(segment_video(path, red_sounds, tiny_processor, fps=2))
    assert [mask.index for mask in masks] == list(range(0, 120, 5))
    np.testing.assert_allclose([mask.time for mask in masks], np.arange(24) / 2, atol=0.001)
    sounding = [bool(mask.segmentation.any()) for mask in masks]
    expected = [5 <= mask.time < 10 for mask in masks]
    # AAC smears a tone's beginning and end over a frame or two, so the windows beside may hear a little of it.
    assert sounding == expected if codecs[1] == "flac" else sounding[10:20] == expected[10:20]
    mask = masks[12]
    assert mask.segmentation.shape == mask.scores.shape == (48, 64)
    # The red part is the lower left quarter.
    assert mask.segmentation[30:, :28].all() and not mask.segmentation[:18].any()
    assert not mask.segmentation[:, 36:].any()
    assert ((mask.scores > 0.5) == mask.segmentation).all()


def test_frames_at_once_do_not_matter(make_video, tiny_processor, tiny_model):
    path = make_video("clip.mp4", seconds=6.0)
    runs = [list(segment_video(path, tiny_model, tiny_processor, fps=3, batch_size=size)) for size in (1, 4, 100)]
    assert len(runs[0]) == len(runs[1]) == len(runs[2]) == 18
    for masks in zip(*runs, strict=True):
        np.testing.assert_allclose(masks[0].scores, masks[1].scores, atol=1e-4)
        np.testing.assert_allclose(masks[0].scores, masks[2].scores, atol=1e-4)


def test_every_frame(make_video, tiny_processor, red_sounds):
    path = make_video("clip.webm", seconds=1.0)
    assert [mask.index for mask in segment_video(path, red_sounds, tiny_processor, fps=None)] == list(range(10))


def test_no_sound_track_means_nothing_sounds(make_video, tiny_processor, red_sounds):
    masks = list(segment_video(make_video("mute.mp4", sound=False), red_sounds, tiny_processor))
    assert len(masks) == 15 and not any(mask.scores.any() for mask in masks)


def test_damage_is_told_after_the_last_mask(make_video, tiny_processor, red_sounds):
    path = make_video("cut.mkv", seconds=8.0, size=(96, 128))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    masks = []
    with pytest.raises(DamagedVideoError, match="is damaged"):
        for mask in segment_video(path, red_sounds, tiny_processor):
            masks.append(mask)
    assert 10 < len(masks) < 35


def test_masks_are_held_until_the_next(make_video, tiny_processor, red_sounds):
    path = make_video("clip.mp4", seconds=2.0)
    masks = list(segment_video(path, red_sounds, tiny_processor, fps=2))
    chosen = [masks[0], masks[2]]  # frames 0 and 10
    chosen[0].segmentation[:], chosen[0].scores[:] = 0, 0
    drawn = [picture.to_ndarray() for _, picture in marked_frames(VideoReader(path).frames(), iter(chosen), 2)]
    originals = [frame.planar_copy().to_ndarray() for frame in VideoReader(path).frames()]
    changed = [not np.array_equal(*pair) for pair in zip(drawn, originals, strict=True)]
    assert changed == [False] * 10 + [True] * 10


def test_a_held_frame_is_drawn_again_for_each_mask(make_video, tiny_processor, red_sounds, tmp_path):
    path = make_video("slides.mp4", seconds=3.0, times=[0.0, 1.2])
    masks = list(segment_video(path, red_sounds, tiny_processor, fps=2))
    assert [(mask.index, mask.time) for mask in masks][:3] == [(0, 0.0), (0, 0.5), (0, 1.0)]
    masks[1].segmentation[:], masks[1].scores[:] = 0, 0
    drawn = list(marked_frames(VideoReader(path).frames(), iter(masks), 2, tmp_path))
    times = [time for time, _ in drawn]
    assert times == sorted(times) and times[:4] == pytest.approx([0.0, 0.5, 1.0, 1.2])
    assert set(times) >= {mask.time for mask in masks}
    marked = [picture.to_ndarray().tobytes() for _, picture in drawn[:3]]
    assert marked[0] == marked[2] != marked[1]
    assert len(list(tmp_path.glob("mask_*s.png"))) == len(masks)


def test_output_of_held_frames_lasts_as_long(make_video, tiny_processor, red_sounds, tmp_path):
    path = make_video("slides.mp4", seconds=3.0, times=[0.0, 1.2, 2.9])
    reader = VideoReader(path)
    masks = reader_masks(reader, red_sounds, tiny_processor, fps=2)
    write_marked(reader, masks, 2, tmp_path / "out.mp4", show_progress=False)
    assert VideoReader(tmp_path / "out.mp4").length == pytest.approx(reader.length, abs=0.002)


@pytest.mark.parametrize("num_labels", [2, 3])
def test_pictures_that_must_be_rgb_are_drawn_on_too(make_video, num_labels):
    """The video has an odd height and the format 4:4:4, so its planes cannot be drawn on."""
    path = make_video("clip.mp4", seconds=0.1, size=(47, 64))
    labels = np.zeros((47, 64), np.uint8)
    labels[10:30, 10:30] = num_labels - 1
    mask = FrameMask(0, 0.0, labels, labels.astype(np.float32))
    ((_, picture),) = marked_frames(VideoReader(path).frames(), iter([mask]), num_labels)
    border = outline(labels > 0, 1)
    assert picture.shape == (47, 64, 3) and (picture[border] == class_colour(num_labels - 1)).all()
    unmarked = next(VideoReader(path).frames()).picture
    np.testing.assert_array_equal(picture[labels == 0], unmarked[labels == 0])


def test_masks_that_are_given_up_end_the_reading(make_video, tiny_processor, red_sounds):
    reader = VideoReader(make_video("clip.mp4", seconds=6.0))
    masks = reader_masks(reader, red_sounds, tiny_processor, fps=2, batch_size=1)
    next(masks)
    masks.close()
    assert reader.picture_end is None  # the last frame was not reached
    frames = reader.frames()
    next(frames)
    reader.stop()
    assert list(frames) == [] and reader.picture_end is None
    assert len(list(reader_masks(reader, red_sounds, tiny_processor, fps=2))) == 12  # it can be read again
    assert reader.picture_end == pytest.approx(6.0)


def test_the_last_mask_is_held_although_masks_wait_no_longer(make_video, tiny_processor, red_sounds, tmp_path):
    """More masks than may wait to be drawn, and many frames after the last mask."""
    reader = VideoReader(make_video("clip.mp4", seconds=4.0))
    masks = [mask for mask in reader_masks(reader, red_sounds, tiny_processor, fps=None) if mask.time < 3]
    seen = []
    count = write_marked(reader, iter(masks), 2, tmp_path / "out.mp4", show_progress=False, on_frame=seen.append)
    assert len(masks) == 30 and count == len(seen) == 40 and seen == sorted(seen)


def test_masks_as_pictures(tmp_path, make_video, tiny_processor, red_sounds):
    path = make_video("clip.mp4", seconds=2.0)
    mask = list(segment_video(path, red_sounds, tiny_processor, fps=2))[3]
    saved = write_mask(mask, tmp_path, num_labels=2)
    assert saved.name == "mask_000015_00001.500s.png"
    np.testing.assert_array_equal(np.asarray(Image.open(saved)), mask.segmentation * 255)
    mask.segmentation[0, 0] = 7
    np.testing.assert_array_equal(np.asarray(Image.open(write_mask(mask, tmp_path, 71))), mask.segmentation)


def test_earlier_masks_are_those_that_auss_names(tmp_path):
    folder = tmp_path / "masks"
    assert earlier_masks(folder, overwrite=False) == [] and not folder.exists()
    folder.mkdir()
    old, others = "mask_000001_00000.100s.png", ["mask_dogs.png", "mask_1_0.1s.png", "mask_000001_00000.100s.png.bak"]
    for name in (old, *others):
        (folder / name).touch()
    with pytest.raises(FileExistsError, match="is not empty: .*--overwrite"):
        earlier_masks(folder, overwrite=False)
    assert earlier_masks(folder, overwrite=True) == [old]
    assert len(list(folder.iterdir())) == 4
    with pytest.raises(FileExistsError, match="is a file"):
        earlier_masks(folder / old, overwrite=True)
    (folder / "mask_000002_00000.200s.png").symlink_to("mask_dogs.png")
    with pytest.raises(FileExistsError, match="mask_000002_00000.200s.png is no file that auss wrote"):
        earlier_masks(folder, overwrite=True)


def test_load_model(model_folder, tiny_model, tmp_path):
    model, processor = load_model(model_folder, "cpu")
    assert not model.training and processor.video_processor.size["height"] == 32
    for name, value in tiny_model.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)
    with pytest.raises(FileNotFoundError, match="is no folder with a trained model"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="device must be one that torch has here, got 'warp'"):
        load_model(model_folder, "warp")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="must hold a model of type 'auss', got 'bert'"):
        load_model(tmp_path)


def test_a_model_that_does_not_hear_is_asked_about_silence_too(make_config, tiny_processor, make_video):
    torch.manual_seed(0)
    config = make_config(audio_input=False, query_embedding=True, num_audio_layers=0)
    model = AussForAudioVisualSegmentation(config).eval()
    with torch.no_grad():
        model.class_head.bias[:] = torch.tensor([0.0, 9.0, 0.0])  # all queries are sure of something sounding
    silent, sounding = make_video("silent.mp4", sound=False), make_video("sounding.mp4")
    masks, others = (list(segment_video(video, model, tiny_processor, fps=2)) for video in (silent, sounding))
    assert len(masks) == len(others) == 6
    for mask, other in zip(masks, others, strict=True):
        assert mask.segmentation.any()
        np.testing.assert_array_equal(mask.segmentation, other.segmentation)


def test_the_command_hears_and_keeps_the_chosen_track(make_tracks, model_folder, tmp_path, caplog):
    tone = (0.3 * np.sin(np.arange(48_000) / 5))[None].astype(np.float32)
    path = make_tracks("two.mov", [0 * tone, tone], languages=("eng", "fra"))
    options = ["--model", str(model_folder), "--device", "cpu", "--fps", "1", "--overwrite"]
    output = tmp_path / "out.mp4"
    assert main(["segment", str(path), "-o", str(output), *options]) == 0
    assert VideoReader(output).info.sound_track.description == "1 (aac, 16000 Hz, mono, fra)"
    assert [record.getMessage().count("so track 2 is heard") for record in caplog.records] == [1]
    caplog.clear()
    assert main(["segment", str(path), "-o", str(output), *options, "--audio-track", "1"]) == 0
    assert VideoReader(output).info.sound_track.description == "1 (aac, 16000 Hz, mono, eng)"
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: all of its sound is silent, so nothing in it sounds"
    ]


def test_sound_that_cannot_be_written_is_found_out_first(make_tracks, model_folder, tmp_path, monkeypatch, capsys):
    path = make_tracks("in.mkv", [np.zeros((1, 16_000), np.float32)])
    masks = tmp_path / "masks"
    masks.mkdir()
    old = masks / "mask_000000_00000.000s.png"
    old.touch()
    monkeypatch.setattr("auss.inference.media.sound_copy.encoding_works", lambda *_: False)
    options = ["--model", str(model_folder), "--masks", str(masks), "--overwrite"]
    assert main(["segment", str(path), "-o", str(tmp_path / "out.mp4"), *options]) == 2
    assert "cannot be written as aac" in capsys.readouterr().err
    assert old.exists() and not (tmp_path / "out.mp4").exists()

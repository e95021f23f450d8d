import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from auss.train.data.avsbench import load_avsbench
from auss.train.data.clips import decode_audio, decode_clip, repeat_last_example

SIZE = (16, 24)


def stored(dataset, index=0):
    return dataset.with_format("arrow")[index].to_pylist()[0]


@pytest.fixture
def train_row(s4_root):
    return stored(load_avsbench(s4_root, "s4", "train"))


@pytest.fixture
def evaluation_row(s4_root):
    return stored(load_avsbench(s4_root, "s4", "test"))


def expected_frame(index, clip=0):
    """Draws the pixels of the fixture again."""
    return np.random.default_rng([clip, index]).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def png(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels, **options).save(file, "png")
    return {"path": None, "bytes": file.getvalue()}


def wav_bytes(samples, rate=8000, subtype="PCM_16"):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype, format="WAV")
    return file.getvalue()


def test_a_whole_clip(evaluation_row):
    clip = decode_clip(evaluation_row)
    assert (clip["clip_id"], clip["category"]) == ("test_0", "dog")
    assert clip["frames"].shape == (5, 3, *SIZE) and clip["frames"].dtype == torch.uint8
    assert clip["labels"].shape == (5, *SIZE) and clip["labels"].dtype == torch.int64
    for index in range(5):
        np.testing.assert_array_equal(clip["frames"][index].permute(1, 2, 0), expected_frame(index))
        assert clip["labels"][index].sum() == 36
        assert (clip["labels"][index, 4:10, index : index + 6] == 1).all()
    assert clip["sampling_rate"] == 16_000 and clip["waveform"].shape == (80_000,)
    assert clip["waveform"].dtype == torch.float32 and clip["waveform"].abs().max() == pytest.approx(0.5, abs=1e-3)


def test_frames_without_annotation_are_255(train_row):
    labels = decode_clip(train_row)["labels"]
    assert labels[0].max() == 1 and (labels[1:] == 255).all()
    assert (decode_clip(train_row, [3, 4])["labels"] == 255).all()
    assert decode_clip(train_row, [3])["labels"].shape == (1, *SIZE)


def test_chosen_frames_equal_those_of_the_whole_clip(evaluation_row):
    whole, part = decode_clip(evaluation_row), decode_clip(evaluation_row, [4, 0, 2])
    for name in ("frames", "labels"):
        assert torch.equal(part[name], whole[name][[4, 0, 2]])


def test_only_the_chosen_frames_are_opened(evaluation_row, monkeypatch):
    opened, plain_open = [], Image.open
    monkeypatch.setattr(
        Image, "open", lambda path, **options: opened.append(Path(path).name) or plain_open(path, **options)
    )
    clip = decode_clip(evaluation_row, [2], with_audio=False)
    assert opened == ["test_0_3.png", "test_0_3.png"]  # the frame and its mask
    assert "waveform" not in clip


def test_decoded_stored_and_plain_paths_give_the_same(s4_root, evaluation_row):
    as_decoded = load_avsbench(s4_root, "s4", "test")[0]
    as_paths = {
        **evaluation_row,
        "frames": [Path(f["path"]) for f in evaluation_row["frames"]],
        "audio": evaluation_row["audio"]["path"],
    }
    as_bytes = {
        **evaluation_row,
        "frames": [{"path": None, "bytes": Path(f["path"]).read_bytes()} for f in evaluation_row["frames"]],
        "audio": {"path": None, "bytes": Path(evaluation_row["audio"]["path"]).read_bytes()},
    }
    expected = decode_clip(evaluation_row)
    for row in (as_decoded, as_paths, as_bytes):
        clip = decode_clip(row)
        for name in ("frames", "labels", "waveform"):
            assert torch.equal(clip[name], expected[name])


def test_pictures_are_turned_upright(evaluation_row):
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # this orientation is a quarter turn
    Image.fromarray(expected_frame(0)).save(file, "png", exif=exif)
    row = {**evaluation_row, "frames": [{"path": None, "bytes": file.getvalue()}], "masks": [], "annotated_frames": []}
    np.testing.assert_array_equal(decode_clip(row)["frames"][0].permute(1, 2, 0), np.rot90(expected_frame(0), k=-1))


def test_masks_keep_their_own_size(evaluation_row):
    row = {**evaluation_row, "masks": [png(np.full((8, 12), 255, np.uint8))], "annotated_frames": [1]}
    clip = decode_clip(row)
    assert clip["frames"].shape == (5, 3, *SIZE) and clip["labels"].shape == (5, 8, 12)
    assert (clip["labels"][1] == 1).all() and (clip["labels"][[0, 2, 3, 4]] == 255).all()


def test_a_row_without_masks_has_no_annotation(evaluation_row):
    row = {name: value for name, value in evaluation_row.items() if name not in ("masks", "annotated_frames")}
    assert (decode_clip(row)["labels"] == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_black_and_white_masks_of_any_mode(evaluation_row, mode):
    grey = np.zeros(SIZE, np.uint8)
    grey[:3] = 255
    grey[3] = 100  # a smoothed edge, closer to black than to white
    picture = Image.fromarray(grey).convert(mode) if mode != "1" else Image.fromarray(grey > 127)
    row = {**evaluation_row, "masks": [picture], "annotated_frames": [0]}
    labels = decode_clip(row, [0])["labels"][0]
    assert (labels[:3] == 1).all() and (labels[3:] == 0).all()


def test_avss_classes_come_from_the_colours(avss_root):
    row = stored(load_avsbench(avss_root, "avss", "train"), 2)
    labels = decode_clip(row, [0, 9], num_labels=71)["labels"]
    assert set(labels.unique().tolist()) == {0, 1, 70}
    assert (labels[1, 4:10, 9:15] == 1).all() and (labels[:, -1] == 70).all()


def test_masks_that_are_neither_black_nor_white_are_named(avss_root, evaluation_row):
    row = stored(load_avsbench(avss_root, "avss", "train"), 0)
    with pytest.raises(ValueError, match=r"0\.png must be black and white.*num_labels"):
        decode_clip(row, [0])
    ones = {**evaluation_row, "masks": [png(np.ones(SIZE, np.uint8))], "annotated_frames": [0]}
    with pytest.raises(ValueError, match="grey levels up to 1;"):
        decode_clip(ones, [0])
    # This colour is bright enough to count as white. Class 6 of the palette is (0, 128, 128), and other classes are
    # brighter.
    coloured = np.full((*SIZE, 3), (192, 128, 128), np.uint8)
    with pytest.raises(ValueError, match="must be black and white, got colours"):
        decode_clip({**ones, "masks": [png(coloured)]}, [0])


@pytest.mark.parametrize("indices", [[], [5], [-1], [0, 7]])
def test_frame_indices_out_of_range(evaluation_row, indices):
    with pytest.raises(ValueError, match=r"frame_indices must name at least one of the frames 0 to 4, got \["):
        decode_clip(evaluation_row, indices)


def test_bad_rows_are_named(evaluation_row):
    with pytest.raises(ValueError, match="frames of clip 'test_0' are none"):
        decode_clip({**evaluation_row, "frames": []})
    with pytest.raises(ValueError, match="clip 'test_0' has 5 masks for 2 annotated_frames"):
        decode_clip({**evaluation_row, "annotated_frames": [0, 1]})
    with pytest.raises(ValueError, match=r'frames must hold paths, \{"path", "bytes"\} dicts .* got int'):
        decode_clip({**evaluation_row, "frames": [3] * 5})
    small = [png(np.zeros((4, 4, 3), np.uint8))]
    with pytest.raises(ValueError, match=r"frames of clip 'test_0' must have one size.*\(4, 4\), \(16, 24\)"):
        decode_clip({**evaluation_row, "frames": small + evaluation_row["frames"][1:]})
    with pytest.raises(ValueError, match=r"masks of clip 'test_0' must have one size"):
        decode_clip({**evaluation_row, "masks": [png(np.zeros((4, 4), np.uint8))] + evaluation_row["masks"][1:]})


def test_files_that_are_missing_truncated_or_no_pictures_are_named(evaluation_row):
    first, second, third = (Path(evaluation_row["frames"][index]["path"]) for index in range(3))
    first.unlink()
    with pytest.raises(FileNotFoundError, match=first.name):
        decode_clip(evaluation_row, [0])
    second.write_bytes(second.read_bytes()[:200])
    with pytest.raises(ValueError, match=f"frames file .*{second.name} cannot be decoded"):
        decode_clip(evaluation_row, [1])
    third.write_text("no picture")
    with pytest.raises(ValueError, match=f"frames file .*{third.name} is not a picture"):
        decode_clip(evaluation_row, [2])


def test_stereo_is_averaged_and_arrays_are_taken():
    wave = np.sin(np.arange(100) / 3)  # a channel that only holds a constant would count as silent
    stereo = np.stack([0.5 * wave, 0.25 * wave], axis=1)
    waveform, rate = decode_audio({"path": None, "bytes": wav_bytes(stereo, subtype="FLOAT")})
    assert rate == 8000 and waveform.shape == (100,) and waveform.dtype == torch.float32
    torch.testing.assert_close(waveform, torch.from_numpy(stereo.mean(axis=1)).float())
    again, rate = decode_audio({"array": stereo, "sampling_rate": 8000, "path": "a.wav"})
    assert rate == 8000
    torch.testing.assert_close(again, waveform)


def test_bad_sounds_are_named(tmp_path):
    path = tmp_path / "sound.wav"
    with pytest.raises(FileNotFoundError, match=r"sound\.wav does not exist"):
        decode_audio(str(path))
    path.write_bytes(b"this is no sound at all")
    with pytest.raises(ValueError, match=r"sound\.wav is not a sound file"):
        decode_audio(path)
    path.write_bytes(wav_bytes(np.zeros(100))[:120])
    with pytest.raises(ValueError, match=r"sound\.wav is truncated: 120 of 244 bytes"):
        decode_audio({"path": str(path), "bytes": None})
    with pytest.raises(ValueError, match=r"is truncated: 120 of 244 bytes"):
        decode_audio({"path": "x.wav", "bytes": wav_bytes(np.zeros(100))[:120]})
    path.write_bytes(wav_bytes(np.zeros(0)))
    with pytest.raises(ValueError, match=r"sound\.wav has no samples"):
        decode_audio(path)
    with pytest.raises(ValueError, match="audio must hold paths.*got NoneType"):
        decode_audio(None)


def test_a_wav_from_a_pipe_has_no_length_and_is_read():
    content = bytearray(wav_bytes(np.full(100, 0.5)))
    content[4:8] = b"\xff\xff\xff\xff"
    content[40:44] = b"\xff\xff\xff\xff"
    waveform, _ = decode_audio({"path": None, "bytes": bytes(content)})
    assert waveform.shape == (100,) and waveform[0] == pytest.approx(0.5, abs=1e-4)


def same_clips(first, second):
    return all(torch.equal(first[name], second[name]) for name in ("frames", "labels", "waveform"))


@pytest.mark.parametrize("row_format", [None, "torch", "numpy", "arrow", "pandas"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_rows_of_every_format_give_the_same_clip(s4_root, split, row_format):
    dataset = load_avsbench(s4_root, "s4", split)
    assert same_clips(decode_clip(dataset.with_format(row_format)[1]), decode_clip(stored(dataset, 1)))


@pytest.mark.parametrize("row_format", [None, "torch", "numpy", "arrow"])
def test_rows_of_shards_of_every_format_give_the_same_clip(s4_root, tmp_path, row_format):
    from auss.train.data.parquet_writer import prepare_data_set

    prepare_data_set(s4_root, tmp_path / "shards", shards=1)
    dataset = load_avsbench(tmp_path / "shards", "s4", "test")
    expected = decode_clip(stored(load_avsbench(s4_root, "s4", "test")))
    assert same_clips(decode_clip(dataset.with_format(row_format)[0]), expected)


def test_pictures_as_arrays_of_either_order(evaluation_row):
    picture = expected_frame(0)
    for array in (picture, picture.transpose(2, 0, 1), torch.from_numpy(picture.transpose(2, 0, 1).copy())):
        row = {**evaluation_row, "frames": [array] * 5}
        np.testing.assert_array_equal(decode_clip(row)["frames"][3].permute(1, 2, 0), picture)
    grey = {**evaluation_row, "frames": np.full((5, *SIZE), 257 * 9, np.uint16)}
    assert (decode_clip(grey)["frames"] == 9).all()
    mask = np.zeros(SIZE, bool)
    mask[3] = True
    for form in (mask, mask[None].astype(np.uint8) * 255, torch.from_numpy(mask)[None]):
        labels = decode_clip({**evaluation_row, "masks": [form], "annotated_frames": torch.tensor([2])})["labels"]
        assert labels[2].sum() == SIZE[1] and (labels[2, 3] == 1).all()
    with pytest.raises(ValueError, match=r"clip 'test_0': frames\[0\] must hold values of 0 to 255, got 0 to 300"):
        decode_clip({**evaluation_row, "frames": [np.linspace(0, 300, picture.size).reshape(picture.shape)] * 5})


def test_a_bad_mask_names_its_clip_and_file_decoded_or_not(s4_root):
    path = s4_root / "Single-source/s4_data/gt_masks/test/dog/test_0/test_0_3.png"
    Image.fromarray(np.full(SIZE, 3, np.uint8)).save(path)
    dataset = load_avsbench(s4_root, "s4", "test")
    for row in (dataset[0], stored(dataset)):
        with pytest.raises(ValueError, match=r"clip 'test_0': masks.*test_0_3\.png\)? must be black and white"):
            decode_clip(row)
    with pytest.raises(ValueError, match=r"clip 'test_0': masks\[2\] must be black and white"):
        decode_clip(dataset.with_format("torch")[0])


def test_a_16_bit_frame_is_scaled_and_an_exif_rotation_is_turned(s4_root):
    data = s4_root / "Single-source/s4_data/visual_frames/test/dog/test_0"
    levels = np.linspace(0, 65_535, SIZE[0] * SIZE[1]).reshape(SIZE).astype(np.uint16)
    for number in range(1, 6):
        Image.fromarray(levels).save(data / f"test_0_{number}.png")
    dataset = load_avsbench(s4_root, "s4", "test")
    for row in (dataset[0], stored(dataset), dataset.with_format("torch")[0]):
        assert np.abs(decode_clip(row)["frames"][0, 0].numpy() - levels / 257).max() <= 0.51


def test_eps_content_in_a_frame_starts_no_program(s4_root, monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    path = s4_root / "Single-source/s4_data/visual_frames/test/dog/test_0/test_0_1.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 24 16\n%%EndComments\nshowpage\n")
    dataset = load_avsbench(s4_root, "s4", "test")
    with pytest.raises(ValueError, match=r"test_0_1\.png is not a picture"):
        decode_clip(stored(dataset))
    with pytest.raises(ValueError, match=r"test_0_1\.png is not a picture"):
        _ = dataset[0]


def test_bad_samples_are_named():
    loud = np.zeros(100, np.float32)
    loud[7] = np.nan
    with pytest.raises(ValueError, match=r"clip 'x': audio file a\.wav must be finite, got 1 NaN"):
        decode_audio({"path": "a.wav", "bytes": wav_bytes(loud, subtype="FLOAT")}, "x")
    pcm, _ = decode_audio({"array": np.array([2**14, -(2**14)] * 50, np.int16), "sampling_rate": 8000})
    assert pcm[0] == 0.5 and pcm[1] == -0.5
    opposite = np.sin(np.arange(8000) / 5) * 0.5
    heard, _ = decode_audio({"path": None, "bytes": wav_bytes(np.stack([opposite, -opposite], axis=1))})
    assert heard.abs().max() > 0.1
    six, _ = decode_audio({"path": None, "bytes": wav_bytes(np.full((100, 6), 0.25))})
    assert six.shape == (100,) and six[3] == pytest.approx(0.25, abs=1e-3)


def test_annotated_frames_beyond_the_frames_are_named(evaluation_row):
    with pytest.raises(ValueError, match=r"annotated_frames of clip 'test_0' must be 0 to 4, got \[5\]"):
        decode_clip({**evaluation_row, "annotated_frames": [0, 1, 2, 3, 5]})
    with pytest.raises(ValueError, match=r"a row must have the column frames, got \['clip_id'\]"):
        decode_clip({"clip_id": "a"})


def sound(examples: int, length: int):
    features = torch.arange(length, dtype=torch.float32)[:, None, None].expand(-1, 96, 64)
    return features, (torch.arange(length) < examples).long()


def test_the_last_example_is_repeated_up_to_the_frames():
    features, mask = repeat_last_example(*sound(2, 10), num_frames=5)
    assert features[:, 0, 0].tolist() == [0, 1, 1, 1, 1, 5, 6, 7, 8, 9] and mask.tolist() == [1] * 5 + [0] * 5


def test_nothing_changes_where_every_frame_has_an_example_or_frames_are_closer():
    for examples, length, frames in ((5, 5, 5), (6, 10, 5), (3, 5, 25), (0, 5, 5), (3, 5, 0)):
        features, mask = sound(examples, length)
        same, same_mask = repeat_last_example(features, mask, frames)
        assert same is features and same_mask is mask


def test_what_is_passed_stays_as_it_is():
    features, mask = sound(1, 5)
    repeat_last_example(features, mask, 5)
    assert mask.tolist() == [1, 0, 0, 0, 0] and features[4, 0, 0] == 4

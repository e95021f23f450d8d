import librosa
import numpy as np
import pytest
import soundfile
import soxr
from PIL import Image, ImageDraw

from auss.processing.audio_inputs import read_sound
from auss.train.composer import object_library
from auss.train.composer.object_library import (
    LARGEST_PICTURE,
    ObjectLibrary,
    kept,
    load_cut_out,
    load_recording,
    looped,
    read_background,
    read_mono,
)
from auss.train.composer.synthesised_sounds import LOUDNESS, SAMPLING_RATE


def save_cut_out(path, colour=(200, 30, 30), size=(60, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGBA", size)
    ImageDraw.Draw(image).ellipse((10, 5, size[0] - 11, size[1] - 6), fill=(*colour, 255))
    image.save(path)


def save_tone(path, frequency=440, seconds=1.0, rate=44_100, channels=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.3 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)
    soundfile.write(path, np.stack([wave] * channels, axis=1), rate)


def save_noise(path, rate):
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, rate), rate)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "objects"
    save_cut_out(root / "cat" / "one.png")
    save_cut_out(root / "cat" / "two.png", (30, 200, 30))
    save_tone(root / "cat" / "miaow.wav", 700)
    save_cut_out(root / "dog.png", (30, 30, 200))
    save_tone(root / "dog.flac", 300)
    save_cut_out(root / "tree" / "oak.png")
    save_tone(root / "wind.ogg", 900)
    (root / "README.txt").write_text("not mine to read")
    return root


def test_both_ways_to_lay_out_a_folder_are_read(folder):
    library = ObjectLibrary(folder)
    assert list(library.categories) == ["cat", "dog", "tree"]
    assert library.sounding == ("cat", "dog")
    assert len(library.categories["cat"].pictures) == 2
    assert any("'wind' is left out" in message for message in library.messages)
    assert any("'tree' has no" in message and "never be heard" in message for message in library.messages)
    library.check()
    rng = np.random.default_rng(0)
    assert {library.picture("cat", rng, 50)[0] for _ in range(20)} == {"cat/one.png", "cat/two.png"}
    name, wave = library.sound("dog", rng, 5)
    assert name == "dog.flac" and wave.shape == (5 * SAMPLING_RATE,)


def test_a_cut_out_is_cropped_to_its_object_and_bounded(tmp_path):
    save_cut_out(tmp_path / "a.png")
    assert load_cut_out(tmp_path / "a.png").size == (40, 30)
    save_cut_out(tmp_path / "large.png", size=(2000, 1000))
    assert max(load_cut_out(tmp_path / "large.png").size) == LARGEST_PICTURE


def test_a_recording_becomes_16_khz_mono_of_one_loudness_without_its_pauses(tmp_path):
    save_tone(tmp_path / "tone.wav", 1000)
    wave = load_recording(tmp_path / "tone.wav")
    assert wave.shape == (SAMPLING_RATE,) and wave.dtype == np.float32
    assert np.argmax(np.abs(np.fft.rfft(wave))) == 1000
    assert np.sqrt((wave**2).mean()) == pytest.approx(LOUDNESS, rel=0.02)
    rate = 16_000
    tone = 0.5 * np.sin(2 * np.pi * 500 * np.arange(rate) / rate)
    soundfile.write(tmp_path / "pause.wav", np.concatenate([tone, np.zeros(3 * rate), tone]), rate)
    assert 2.1 < len(load_recording(tmp_path / "pause.wav")) / SAMPLING_RATE < 2.4


def test_a_recording_is_trimmed_as_by_20_millisecond_frames(tmp_path):
    """The expected result is computed here: frames of 20 ms within 20 dB of the loudest one, and 0.12 s around
    them."""
    rng, rate = np.random.default_rng(0), 48_000
    bursts = [np.concatenate([rng.normal(0, level, rate // 2), np.zeros(rate)]) for level in (0.2, 0.1, 0.05, 0.004)]
    soundfile.write(tmp_path / "bursts.wav", np.concatenate(bursts), rate, "FLOAT")
    frames = soxr.resample(np.concatenate(bursts), rate, SAMPLING_RATE).reshape(-1, 320)
    level = np.sqrt((frames**2).mean(axis=1))
    near = np.convolve(level > 0.1 * level.max(), np.ones(13), "full")[6:-6] > 0.5
    found = load_recording(tmp_path / "bursts.wav")
    assert abs(len(found) - 320 * near.sum()) <= 0.06 * len(found)
    assert np.sqrt((found**2).mean()) == pytest.approx(np.sqrt((0.1**2) * 1.5 * SAMPLING_RATE / len(found)), rel=0.1)


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 48_000])
def test_resampling_is_that_of_soxr_to_the_last_bit(tmp_path, rate):
    save_noise(tmp_path / "noise.wav", rate)
    wave, _ = read_mono(tmp_path / "noise.wav")
    expected = soxr.resample(wave, rate, SAMPLING_RATE)
    found = librosa.resample(wave, orig_sr=rate, target_sr=SAMPLING_RATE, res_type="soxr_hq")
    assert abs(len(found) - len(expected)) <= 1
    shared = min(len(found), len(expected))
    np.testing.assert_array_equal(found[:shared], expected[:shared])


@pytest.mark.parametrize(
    "kind", [("a.wav", "PCM_16"), ("a.wav", "PCM_24"), ("a.wav", "FLOAT"), ("a.flac", "PCM_16"), ("a.ogg", None)]
)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_sound_files_are_read_as_librosa_reads_them(tmp_path, kind, channels):
    name, subtype = kind
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (20_000, channels))
    soundfile.write(tmp_path / name, noise, 44_100, subtype)
    samples, rate = read_sound(str(tmp_path / name), "sound file")
    expected, expected_rate = librosa.load(tmp_path / name, sr=None, mono=False)
    assert rate == expected_rate and samples.dtype == expected.dtype
    np.testing.assert_array_equal(samples.T, expected)


def test_no_more_than_some_megabytes_are_kept(tmp_path, monkeypatch):
    """The cache keeps the last used values. It does not keep a value that is larger than the whole cache."""
    monkeypatch.setattr(object_library, "CACHE_BYTES", 10)
    loaded = []

    @kept(len)
    def load(name):
        loaded.append(name)
        return name

    for name in ("aaaa", "bbbb", "aaaa", "cccc", "aaaa", "bbbb"):
        assert load(name) == name
    assert loaded == ["aaaa", "bbbb", "cccc", "bbbb"]
    for _ in range(2):
        assert load("longer than that") == "longer than that"
    assert loaded[4:] == 2 * ["longer than that"]


def test_a_short_recording_is_looped_and_a_long_one_cut():
    rng = np.random.default_rng(0)
    short, long = np.ones(4000, np.float32), np.arange(90_000, dtype=np.float32)
    assert looped(short, rng, 80_000).shape == (80_000,)
    assert looped(short, rng, 80_000).mean() > 0.6
    part = looped(long, rng, 80_000)
    assert np.array_equal(np.diff(part), np.ones(79_999)) and part[0] > 0


def test_backgrounds_come_from_the_folder(tmp_path):
    (tmp_path / "deep").mkdir()
    Image.new("RGB", (90, 50), (10, 200, 30)).save(tmp_path / "deep" / "green.png")
    library = ObjectLibrary(None, tmp_path)
    name, image = library.background(np.random.default_rng(0), 64, 80)
    assert name == "green.png" and image.shape == (64, 80, 3)
    assert np.array_equal(np.unique(image.reshape(-1, 3), axis=0), [[10, 200, 30]])


def test_bad_files_and_folders_are_named(tmp_path):
    with pytest.raises(ValueError, match="objects must be a folder .*nowhere"):
        ObjectLibrary(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="backgrounds must be a folder with pictures"):
        ObjectLibrary(None, tmp_path)
    Image.new("RGB", (20, 20)).save(tmp_path / "opaque.png")
    with pytest.raises(ValueError, match=r"opaque\.png has no transparent pixels"):
        load_cut_out(tmp_path / "opaque.png")
    Image.new("RGBA", (20, 20)).save(tmp_path / "empty.png")
    with pytest.raises(ValueError, match=r"empty\.png is transparent everywhere"):
        load_cut_out(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"text\.png cannot be read as a picture"):
        load_cut_out(tmp_path / "text.png")
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(ValueError, match=r"text\.wav cannot be read as a sound"):
        load_recording(tmp_path / "text.wav")
    save_tone(tmp_path / "short.wav", seconds=0.1)
    with pytest.raises(ValueError, match=r"short\.wav lasts 0\.10 s; a sound needs 0\.2 s"):
        load_recording(tmp_path / "short.wav")
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    with pytest.raises(ValueError, match=r"silent\.wav is silent"):
        load_recording(tmp_path / "silent.wav")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "scene.jpg").write_text("no picture")
    with pytest.raises(ValueError, match=r"backgrounds: .*scene\.jpg cannot be read as a picture"):
        ObjectLibrary(None, tmp_path / "broken").background(np.random.default_rng(0), 64, 64)


def test_what_programs_leave_behind_is_passed_over(folder):
    for hidden in (".ipynb_checkpoints", "__MACOSX", "@eaDir"):
        save_cut_out(folder / hidden / "one.png")
        save_tone(folder / hidden / "one.wav")
    (folder / "cat" / "._one.png").write_bytes(b"\0\5\x16\7")
    (folder / "cat" / ".DS_Store").write_bytes(b"\0")
    (folder / "cat" / "Thumbs.db").write_bytes(b"\0")
    (folder / "._dog.wav").write_bytes(b"\0")
    (folder / ".hidden.png").write_bytes(b"\0")
    scenes = folder.parent / "scenes"
    (scenes / ".thumbnails").mkdir(parents=True)
    for path in (scenes / "a.png", scenes / ".thumbnails" / "a.png", scenes / "._a.png"):
        Image.new("RGB", (90, 50)).save(path)
    library = ObjectLibrary(folder, scenes)
    library.check()
    assert list(library.categories) == ["cat", "dog", "tree"] and library.backgrounds == (scenes / "a.png",)
    assert [path.name for path in library.categories["cat"].pictures] == ["one.png", "two.png"]


def ellipse(mode="RGBA"):
    image = Image.new("RGBA", (60, 40))
    ImageDraw.Draw(image).ellipse((10, 5, 49, 34), fill=(200, 30, 30, 255))
    return image.convert(mode)


def test_a_photo_that_exif_turns_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    ellipse().save(tmp_path / "turned.png", exif=exif)
    assert load_cut_out(tmp_path / "turned.png").size == (30, 40)
    Image.new("RGB", (90, 50), "blue").save(tmp_path / "scene.jpg", exif=exif)
    assert read_background(tmp_path / "scene.jpg").size == (50, 90)


@pytest.mark.parametrize("kind", ["palette", "LA", "gif", "webp", "grey of 16 bits"])
def test_cut_outs_of_every_kind_have_the_same_shape(tmp_path, kind):
    path = tmp_path / f"a.{kind if kind in ('gif', 'webp') else 'png'}"
    options = {}
    if kind == "palette":
        picture = ellipse().quantize(16)
    elif kind == "grey of 16 bits":
        grey = np.asarray(ellipse("LA")).astype(np.uint16)
        picture = Image.fromarray(np.where(grey[..., 1] > 0, 257 * grey[..., 0], 65_535).astype(np.uint16))
        options = {"transparency": 65_535}
    else:
        picture = ellipse("LA") if kind == "LA" else ellipse()
    if kind in ("gif", "webp"):
        options = {"save_all": True, "append_images": [Image.new("RGBA", (60, 40))], "duration": 100}
    picture.save(path, **options)
    cut_out = load_cut_out(path)
    assert cut_out.size == (40, 30) and cut_out.getpixel((20, 15))[3] == 255
    expected = 30 if kind in ("palette", "gif", "webp") else round(0.299 * 200 + 0.587 * 30 + 0.114 * 30)
    assert abs(cut_out.convert("RGB").getpixel((20, 15))[1] - expected) <= 6


def test_backgrounds_of_every_kind_keep_their_brightness(tmp_path):
    Image.fromarray(np.full((50, 90), 257 * 60, np.uint16)).save(tmp_path / "grey16.png")
    Image.new("CMYK", (90, 50), (0, 0, 0, 195)).save(tmp_path / "cmyk.jpg")
    Image.new("L", (90, 50), 60).save(tmp_path / "grey.bmp")
    for path in sorted(tmp_path.iterdir()):
        picture = np.asarray(read_background(path)).astype(int)
        assert picture.shape == (50, 90, 3) and np.abs(picture - 60).max() <= 3, path.name


def test_animations_are_said(folder):
    frames = [ellipse(), Image.new("RGBA", (60, 40))]
    frames[0].save(folder / "cat" / "moving.webp", save_all=True, append_images=frames[1:])
    library = ObjectLibrary(folder)
    library.check()
    assert [message for message in library.messages if "moving.webp is an animation" in message]


def test_all_bad_files_are_named_at_once(folder):
    (folder / "cat" / "empty.png").write_bytes(b"")
    (folder / "dog.flac").write_bytes(b"")
    soundfile.write(folder / "cat" / "nan.wav", np.full(16_000, np.nan), 16_000, "FLOAT")
    soundfile.write(folder / "cat" / "one.wav", [0.5], 16_000)
    soundfile.write(folder / "cat" / "still.wav", np.full(16_000, 0.5), 16_000)
    (folder / "scenes").mkdir()
    (folder.parent / "scenes").mkdir()
    (folder.parent / "scenes" / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError) as caught:
        ObjectLibrary(folder, folder.parent / "scenes").check()
    lines = str(caught.value).splitlines()
    names = ("empty.png", "nan.wav", "one.wav", "still.wav", "dog.flac", "a.jpg")
    assert len(lines) == len(names) and all(sum(name in line for line in lines) == 1 for name in names)
    assert "still.wav is silent" in str(caught.value) and "nan.wav is not finite" in str(caught.value)


@pytest.mark.parametrize("rate", [4000, 11_025, 96_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_recordings_of_any_rate_and_channels(tmp_path, rate, channels):
    save_tone(tmp_path / "a.wav", 400, rate=rate, channels=channels)
    wave = load_recording(tmp_path / "a.wav")
    assert np.isfinite(wave).all() and abs(len(wave) - SAMPLING_RATE) <= 320
    assert np.argmax(np.abs(np.fft.rfft(wave, SAMPLING_RATE))) == pytest.approx(400, abs=2)


@pytest.mark.parametrize("name", [" dog", "dog ", "do\ng", "do\\g"])
def test_categories_whose_names_would_not_come_back_are_refused(folder, name):
    save_cut_out(folder / name / "one.png")
    with pytest.raises(ValueError, match="the category .* must"):
        ObjectLibrary(folder)

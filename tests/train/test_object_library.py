import numpy as np
import pytest
import soundfile
from PIL import Image, ImageDraw

from auss.train.object_library import LARGEST_PICTURE, ObjectLibrary, load_cut_out, load_recording, looped
from auss.train.synthesised_sounds import LOUDNESS, SAMPLING_RATE


def save_cut_out(path, colour=(200, 30, 30), size=(60, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGBA", size)
    ImageDraw.Draw(image).ellipse((10, 5, size[0] - 11, size[1] - 6), fill=(*colour, 255))
    image.save(path)


def save_tone(path, frequency=440, seconds=1.0, rate=44_100, channels=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.3 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)
    soundfile.write(path, np.stack([wave] * channels, axis=1), rate)


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

import av
import numpy as np
import pytest

from auss.train.composer.composed_video import compose_video, take_turns
from auss.train.composer.scenes import SHOWN_AREA


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    return compose_video(tmp_path_factory.mktemp("video") / "clip.mp4", 3, seconds=11, fps=8, size=(96, 160))


def decode(path, kind):
    with av.open(str(path)) as container:
        yield from container.decode(**{kind: 0})


def sound_of(path):
    frames = list(decode(path, "audio"))
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]), frames[0].sample_rate


def test_the_file_has_the_frames_and_the_sound_asked_for(composed):
    frames = list(decode(composed.path, "video"))
    assert len(frames) == 88 and (frames[0].height, frames[0].width) == (96, 160)
    assert [frame.time for frame in frames] == pytest.approx(np.arange(88) / 8, abs=1e-3)
    wave, rate = sound_of(composed.path)
    assert rate == 16_000 and len(wave) / rate == pytest.approx(11, abs=0.2)
    with av.open(str(composed.path)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"


def test_turns_change_at_multiples_of_five_seconds(composed):
    assert composed.turns == [(0.0, 5.0, 0), (5.0, 10.0, 1), (10.0, 11, 2)]
    assert [composed.sounding(time) for time in (0, 4.99, 5, 10.5)] == [0, 0, 1, 2]
    assert len(set(composed.categories)) == 3
    assert [turn[2] for turn in take_turns(17, 2)] == [0, 1, 0, 1]
    with pytest.raises(ValueError, match="time must be at least 0 and less than 11 s, got 11"):
        composed.sounding(11)


def test_each_turn_is_heard_and_sounds_different(composed):
    wave, rate = sound_of(composed.path)
    spectra = []
    for start, stop, _ in composed.turns:
        part = wave[int((start + 0.3) * rate) : int((stop - 0.2) * rate)]
        assert np.sqrt((part**2).mean()) > 0.02
        power = np.add.reduceat(np.abs(np.fft.rfft(part, 65_536)) ** 2, np.arange(0, 32_768, 1024))
        spectra.append(np.sqrt(power / power.sum()))
    assert max(spectra[i] @ spectra[j] for i, j in ((0, 1), (0, 2), (1, 2))) < 0.95


def test_frames_show_the_scene_and_masks_what_sounds(composed):
    for number, frame in enumerate(decode(composed.path, "video")):
        if number % 20 == 10:
            pixels, time = frame.to_ndarray(format="rgb24").astype(int), (number + 0.5) / 8
            drawn = composed.scene.frame(time / 11).astype(int)
            assert np.abs(pixels - drawn).mean() < 8  # the loss by compression and halved colour resolution
            mask = composed.mask(time)
            assert mask.shape == (96, 160) and mask.mean() >= SHOWN_AREA * 0.9
            assert np.array_equal(mask, composed.scene.shapes(time / 11)[0][composed.sounding(time)])


def test_the_seed_decides_the_scene(composed, tmp_path):
    again = compose_video(tmp_path / "again.mkv", 3, seconds=11, fps=1, size=(96, 160))
    other = compose_video(tmp_path / "other.mp4", 4, seconds=1, fps=2, size=(64, 64))
    assert again.categories == composed.categories and np.array_equal(again.mask(5.1), composed.mask(5.1))
    assert other.categories != composed.categories


def test_a_file_is_kept_unless_asked(composed):
    before = composed.path.read_bytes()
    with pytest.raises(ValueError, match=r"path must not exist yet, and .*clip\.mp4 does"):
        compose_video(composed.path, 0, seconds=1)
    assert composed.path.read_bytes() == before
    assert [path.name for path in composed.path.parent.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seconds": 0}, "seed, seconds, fps must be >= 0, > 0 and >= 1, got 0, 0, 25"),
        ({"size": (65, 64)}, r"size must be an even height and width of 64 or more, got \(65, 64\)"),
        ({"size": (64, 32)}, r"size must be an even height and width of 64 or more, got \(64, 32\)"),
        ({"count": 11}, r"count must be 2 to 10 \(sounding categories\), got 11"),
    ],
)
def test_bad_arguments_are_named(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        compose_video(tmp_path / "clip.mp4", **arguments)
    assert not any(tmp_path.iterdir())


def test_overwriting_replaces_the_file(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_text("old")
    compose_video(path, 0, seconds=0.5, fps=4, size=(64, 64), overwrite=True)
    assert len(list(decode(path, "video"))) == 2

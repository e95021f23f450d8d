import numpy as np
import pytest
import soundfile

from auss.train.composer.composed_clips import (
    SECONDS,
    Shares,
    coloured_noise,
    compose_clip,
    fade,
    first_category,
    gated,
    mix,
    random_timing,
)
from auss.train.composer.object_library import ObjectLibrary
from auss.train.composer.scenes import SHOWN, SHOWN_AREA
from auss.train.composer.synthesised_sounds import SAMPLING_RATE

LIBRARY = ObjectLibrary()
SIZE = 72


def clips(subset, count=30, split="train"):
    return [compose_clip(LIBRARY, 4, subset, split, number, SIZE) for number in range(count)]


@pytest.fixture(scope="module")
def single():
    return clips("s4")


@pytest.fixture(scope="module")
def several():
    return clips("ms3")


def timing_of(clip):
    return np.array([thing["sounding"] for thing in clip.notes["objects"]])


def loudness(clip):
    return np.sqrt((clip.waveform.reshape(SECONDS, -1) ** 2).mean(axis=1))


def test_a_clip_has_five_frames_masks_and_seconds(single, several):
    for clip in single + several:
        assert clip.frames.shape == (5, SIZE, SIZE, 3) and clip.frames.dtype == np.uint8
        assert clip.masks.shape == (5, SIZE, SIZE) and clip.masks.dtype == bool
        assert clip.waveform.shape == (SECONDS * SAMPLING_RATE,) and clip.waveform.dtype == np.float32
        assert np.abs(clip.waveform).max() <= 0.99


def test_s4_one_object_sounds_all_the_time_and_the_others_never(single):
    for clip in single:
        timing = timing_of(clip)
        names = [thing["category"] for thing in clip.notes["objects"]]
        assert len(set(names)) == len(names) in (2, 3)
        assert sorted(timing.sum(axis=1)) == [0] * (len(names) - 1) + [5]
        assert names[int(timing.sum(axis=1).argmax())] == clip.category
        assert loudness(clip).min() > 0.01
        assert clip.masks.mean(axis=(1, 2)).min() >= SHOWN_AREA


def test_ms3_objects_sound_in_seconds_of_their_own(several):
    heard = []
    for clip in several:
        timing = timing_of(clip)
        assert len(timing) in (3, 4)
        heard.append((timing.sum(axis=1) > 0).sum())
        assert np.array_equal(clip.masks.any(axis=(1, 2)), timing.any(axis=0))
    assert {1, 2, 3} == set(heard) and np.mean(np.array(heard) == 2) > 0.5
    silent = np.mean([~timing_of(clip).any(axis=0) for clip in several])
    assert 0.05 < silent < 0.45


def test_seconds_in_which_nothing_sounds_hold_only_the_noise_floor(several):
    checked = 0
    for clip in several:
        on, level = timing_of(clip).any(axis=0), loudness(clip)
        if on.all():
            continue
        checked += 1
        assert level[~on].max() < 0.35 * level[on].min()
        assert level[~on].max() > 0
    assert checked > 5


def test_masks_are_the_visible_boxes_and_areas_of_what_sounds(several):
    for clip in several:
        for second in range(SECONDS):
            sounding = [thing for thing in clip.notes["objects"] if thing["sounding"][second]]
            area = sum(thing["visible_area"][second] for thing in sounding)
            assert clip.masks[second].mean() == pytest.approx(area, abs=1e-3)  # visible parts never overlap
            rows, columns = np.nonzero(clip.masks[second])
            if sounding:
                boxes = np.array([thing["boxes"][second] for thing in sounding])
                assert (columns.min(), rows.min()) == tuple(boxes[:, :2].min(axis=0))
                assert (columns.max() + 1, rows.max() + 1) == tuple(boxes[:, 2:].max(axis=0))


def test_every_object_stays_well_visible_and_moves(single, several):
    for clip in single + several:
        for thing in clip.notes["objects"]:
            shown, whole = np.array(thing["visible_area"]), np.array(thing["whole_area"])
            assert (shown / whole).min() >= SHOWN - 0.01 and shown.min() >= SHOWN_AREA - 1e-3
            assert len({tuple(box) for box in thing["boxes"]}) > 1


def test_silent_objects_are_as_large_as_sounding_ones(single):
    areas = {True: [], False: []}
    for clip in single:
        for thing in clip.notes["objects"]:
            areas[any(thing["sounding"])].append(np.mean(thing["whole_area"]))
    assert np.mean(areas[True]) == pytest.approx(np.mean(areas[False]), rel=0.25)


def test_a_clip_depends_on_its_numbers_alone(single):
    again = compose_clip(LIBRARY, 4, "s4", "train", 7, SIZE)
    assert again.notes == single[7].notes
    for name in ("frames", "masks", "waveform"):
        assert np.array_equal(getattr(again, name), getattr(single[7], name))
    for other in ((5, "s4", "train", 7), (4, "ms3", "train", 7), (4, "s4", "val", 7), (4, "s4", "train", 8)):
        assert not np.array_equal(compose_clip(LIBRARY, *other, SIZE).frames, again.frames)


def test_categories_take_turns():
    for start in (0, 10, 20):
        names = [first_category(LIBRARY, 4, "s4", "val", number) for number in range(start, start + 10)]
        assert sorted(names) == sorted(LIBRARY.sounding)


def test_timing_is_one_stretch_or_one_with_a_hole():
    seen = set()
    for seed in range(300):
        timing = random_timing(np.random.default_rng(seed))
        stretches = (np.diff(timing.astype(int), prepend=0) == 1).sum()
        assert timing.any() and stretches in (1, 2)
        seen.add((int(timing.sum()), int(stretches)))
    assert {(1, 1), (5, 1), (3, 2), (4, 2)} <= seen


def test_gates_open_and_close_softly():
    wave = gated(np.ones(5 * SAMPLING_RATE, np.float32), np.array([0, 1, 1, 0, 1], bool)).reshape(5, -1)
    assert not wave[0].any() and not wave[3].any()
    assert wave[1, 0] == 0 and wave[2, -1] == 0 and wave[1, -1] == wave[2, 0] == 1
    assert np.abs(np.diff(fade(SAMPLING_RATE))).max() < 0.01


def test_a_mixture_adds_its_sounds_at_their_gains():
    t = np.arange(5 * SAMPLING_RATE) / SAMPLING_RATE
    waves = [(0.1 * np.sqrt(2) * np.sin(2 * np.pi * f * t)).astype(np.float32) for f in (500, 1200)]
    timing = np.array([[1, 1, 1, 1, 1], [0, 0, 1, 1, 0]], bool)
    signal, gains, distance = mix(np.random.default_rng(0), waves, timing)
    for frequency, gain, seconds in ((500, gains[0], (0, 4)), (1200, gains[1], (2, 3))):
        for second in range(5):
            part = signal[second * SAMPLING_RATE :][:SAMPLING_RATE]
            amplitude = 2 * np.abs(np.fft.rfft(part))[frequency] / SAMPLING_RATE
            inside = seconds[0] <= second <= seconds[1]
            assert amplitude == pytest.approx(0.1414 * 10 ** (gain / 20) if inside else 0, abs=0.006)
    assert -9 <= min(gains) <= max(gains) <= 0 and 22 <= distance <= 40


def test_noise_has_unit_power():
    noise = coloured_noise(np.random.default_rng(0), 10_001)
    assert noise.shape == (10_001,) and (noise**2).mean() == pytest.approx(1, rel=1e-4)


@pytest.fixture(scope="module")
def noisy_library(tmp_path_factory):
    """The drawn objects, and a high tone that belongs to none of them."""
    folder = tmp_path_factory.mktemp("noises")
    wave = 0.3 * np.sin(2 * np.pi * 7000 * np.arange(SAMPLING_RATE) / SAMPLING_RATE)
    soundfile.write(folder / "whistle.wav", wave, SAMPLING_RATE)
    return ObjectLibrary(noises=folder)


def tone_strength(clip):
    """The strength of the tone of `noisy_library` in each second of a clip."""
    return np.abs(np.fft.rfft(clip.waveform.reshape(SECONDS, -1)))[:, 7000]


def test_noises_sound_over_a_clip_and_leave_its_pictures_alone(noisy_library):
    plain = [compose_clip(LIBRARY, 4, "s4", "train", number, SIZE) for number in range(12)]
    noisy = [compose_clip(noisy_library, 4, "s4", "train", number, SIZE, Shares(noisy=0.5)) for number in range(12)]
    count = 0
    for one, other in zip(plain, noisy, strict=True):
        assert np.array_equal(one.frames, other.frames) and np.array_equal(one.masks, other.masks)
        if "noise" not in other.notes:
            assert np.array_equal(one.waveform, other.waveform)
            continue
        count += 1
        sounding = np.array(other.notes["noise_sounding"], bool)
        assert other.notes["noise"] == "whistle.wav" and np.abs(other.waveform).max() <= 0.99
        assert tone_strength(other)[sounding].min() > 100 > 20 > tone_strength(one)[sounding].max()
    assert 2 < count < 10


def test_in_some_noisy_ms3_clips_nothing_in_the_picture_sounds(noisy_library):
    shares = Shares(noisy=1.0)
    noisy = [compose_clip(noisy_library, 4, "ms3", "train", number, SIZE, shares) for number in range(40)]
    silent = [clip for clip in noisy if not timing_of(clip).any()]
    assert 1 <= len(silent) < 16
    for clip in silent:
        assert not clip.masks.any() and all(thing["sound"] is None for thing in clip.notes["objects"])
        off = ~np.array(clip.notes["noise_sounding"], bool)
        assert not off.any() or loudness(clip)[off].max() < 0.02
    for clip in noisy:
        assert np.array_equal(clip.masks.any(axis=(1, 2)), timing_of(clip).any(axis=0))


def test_a_share_of_the_ms3_clips_is_steady():
    steady = [compose_clip(LIBRARY, 4, "ms3", "train", number, SIZE, Shares(steady=0.5)) for number in range(24)]
    alike = [
        clip for clip in steady if sorted(timing_of(clip).sum(axis=1))[-2:] == [0, 5] and len(timing_of(clip)) < 4
    ]
    assert 5 < len(alike) < 19
    assert {clip.notes["subset"] for clip in steady} == {"ms3"}

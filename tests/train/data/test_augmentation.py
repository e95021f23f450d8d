import copy
import math
import pickle

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from auss.train.data.augmentation import ClipAugmentation, ClipMixing, mix_log_mels

PLAIN = dict(flip=0.0, colour=0.0, scale=(1.0, 1.0))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def clip(frames=3, height=40, width=48, seed=0):
    """Makes smooth random pictures with a square label."""
    noise = torch.rand(frames, 3, 5, 6, generator=generator(seed))
    pixels = torch.nn.functional.interpolate(noise, size=(height, width), mode="bilinear")
    labels = torch.zeros(frames, height, width, dtype=torch.int64)
    labels[:, height // 4 : height // 2, width // 4 : width // 2] = 1
    return (pixels * 255).to(torch.uint8), labels


def test_nothing_switched_on_is_a_resize():
    frames, _ = clip()
    labels = torch.randint(0, 2, (3, 40, 48), generator=generator())
    out, out_labels = ClipAugmentation((20, 24), **PLAIN)(frames, labels, generator())
    assert torch.equal(out, functional.resize(frames, [20, 24], antialias=True))
    assert torch.equal(out_labels, labels[:, 1::2, 1::2])
    assert out.dtype == torch.uint8 and out_labels.dtype == torch.int64
    same, same_labels = ClipAugmentation((40, 48), **PLAIN)(frames, labels, generator())
    assert torch.equal(same, frames) and torch.equal(same_labels, labels)


def test_flip_turns_frames_and_labels():
    frames, labels = clip()
    out, out_labels = ClipAugmentation((40, 48), **{**PLAIN, "flip": 1.0})(frames, labels, generator())
    assert torch.equal(out, frames.flip(-1)) and torch.equal(out_labels, labels.flip(-1))


@pytest.mark.parametrize("seed", range(8))
def test_all_frames_of_a_clip_get_the_same(seed):
    """Equal frames stay equal, and the result of a frame does not depend on the frames before it."""
    frames, labels = clip(frames=1, seed=seed)
    frames, labels = frames.expand(4, -1, -1, -1), labels.expand(4, -1, -1)
    out, out_labels = ClipAugmentation((32, 32))(frames, labels, generator(seed))
    assert all(torch.equal(out[0], out[index]) for index in range(4))
    assert all(torch.equal(out_labels[0], out_labels[index]) for index in range(4))


def test_a_colour_is_changed_alike_in_frames_of_different_brightness():
    """Contrast is changed about the mean of the clip. About the mean of each frame, the shared patch would get two
    colours."""
    frames = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    frames[0, :, 8:] = 250
    frames[:, :, :8] = torch.tensor([90, 120, 60], dtype=torch.uint8)[:, None, None]
    labels = torch.zeros(2, 16, 16, dtype=torch.int64)
    augmentation = ClipAugmentation((16, 16), **{**PLAIN, "colour": 0.8})
    changed = 0
    for seed in range(6):
        out, _ = augmentation(frames, labels, generator(seed))
        assert torch.equal(out[0, :, :8], out[1, :, :8])
        changed += not torch.equal(out[:, :, :8], frames[:, :, :8])
    assert changed >= 5


@pytest.mark.parametrize("size", [(32, 32), (17, 45), (64, 80)])
def test_the_size_and_the_types_are_kept_at_every_scale(size):
    frames, labels = clip()
    for seed in range(20):
        out, out_labels = ClipAugmentation(size, scale=(0.3, 4.0))(frames, labels, generator(seed))
        assert out.shape == (3, 3, *size) and out.dtype == torch.uint8 and out.is_contiguous()
        assert out_labels.shape == (3, *size) and set(out_labels.unique().tolist()) <= {0, 1, 255}


def test_a_small_scale_pads_with_the_fill_and_255():
    frames, labels = clip(height=32, width=32)
    labels[1] = 255  # this frame is not annotated, and stays so
    augmentation = ClipAugmentation((32, 32), **{**PLAIN, "scale": (0.5, 0.5)}, fill=(9, 8, 7))
    places = set()
    for seed in range(12):
        out, out_labels = augmentation(frames, labels, generator(seed))
        padded = out_labels[0] == 255
        assert padded.sum() == 32 * 32 - 16 * 16
        assert torch.equal(out[0][:, padded], torch.tensor([9, 8, 7], dtype=torch.uint8)[:, None].expand(3, 768))
        assert (out_labels[1] == 255).all()
        rows, columns = torch.nonzero(~padded, as_tuple=True)
        top, left = int(rows.min()), int(columns.min())
        shown = out[:, :, top : top + 16, left : left + 16]
        assert torch.equal(shown, functional.resize(frames, [16, 16], antialias=True))
        assert (out_labels[0] == 1).sum() == 16
        places.add((top, left))
    assert len(places) > 6


def test_a_large_scale_shows_a_part():
    frames, labels = clip(height=32, width=32)
    augmentation = ClipAugmentation((32, 32), **{**PLAIN, "scale": (2.0, 2.0)})
    crops = [functional.resize(frames[:, :, y : y + 16, x : x + 16], [32, 32]) for y in range(17) for x in range(17)]
    found = set()
    for seed in range(8):
        out, out_labels = augmentation(frames, labels, generator(seed))
        (index,) = [index for index, crop in enumerate(crops) if torch.equal(crop, out)]
        y, x = divmod(index, 17)
        part = labels[:, y : y + 16, x : x + 16]
        assert torch.equal(out_labels, part.repeat_interleave(2, 1).repeat_interleave(2, 2))
        found.add(index)
    assert len(found) > 5


def test_stretching_changes_the_proportions_within_its_bounds():
    """A square on black keeps its area and gets up to `stretch` times as high as wide, or as wide as high."""
    labels = torch.zeros(1, 96, 96, dtype=torch.int64)
    labels[:, 40:56, 40:56] = 1
    frames = (labels * 255).to(torch.uint8)[:, None].expand(-1, 3, -1, -1)
    ratios = []
    for seed in range(60):
        _, out = ClipAugmentation((96, 96), **PLAIN, stretch=1.8)(frames, labels, generator(seed))
        rows, columns = ((out[0] == 1).any(axis).sum().item() for axis in (1, 0))
        ratios.append(rows / columns)
        assert rows * columns == pytest.approx(256, rel=0.12)
    assert 1 / 2 < min(ratios) < 0.65 and 1.55 < max(ratios) < 2
    assert np.log(ratios).mean() == pytest.approx(0, abs=0.15)


@pytest.mark.parametrize("stretch", [1.0, 1.8])
@pytest.mark.parametrize("seed", range(10))
def test_labels_stay_on_their_object(seed, stretch):
    """The object is white on black. After any crop, scale and flip the labels must lie on the white pixels."""
    _, labels = clip(height=64, width=64)
    frames = (labels * 255).to(torch.uint8)[:, None].expand(-1, 3, -1, -1)
    out, out_labels = ClipAugmentation((48, 48), colour=0.0, stretch=stretch)(frames, labels, generator(seed))
    white, padding = out[:, 0].float() / 255, out_labels == 255
    assert ((white > 0.5) != (out_labels == 1))[~padding].float().mean() < 0.02


def test_labels_of_another_size_stay_on_their_object():
    """Label pictures of twice the size show the same drawing. The result is equal up to the finer edge."""
    frames, labels = clip(height=32, width=32)
    doubled = labels.repeat_interleave(2, 1).repeat_interleave(2, 2)
    for seed in range(6):
        out, out_labels = ClipAugmentation((32, 32))(frames, labels, generator(seed))
        again, fine_labels = ClipAugmentation((32, 32))(frames, doubled, generator(seed))
        assert torch.equal(out, again) and torch.equal(out_labels, fine_labels)


def test_a_seed_decides_everything():
    frames, labels = clip()
    augmentation = ClipAugmentation((32, 32))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = augmentation(frames, labels, generator(7))
    assert torch.equal(torch.get_rng_state(), state)  # nothing comes from the global generator
    torch.manual_seed(2)
    second = pickle.loads(pickle.dumps(augmentation))(frames, labels, generator(7))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert not torch.equal(first[0], augmentation(frames, labels, generator(8))[0])


def test_every_clip_draws_the_same_count_of_numbers():
    frames, labels = clip()
    following = []
    for arguments in (PLAIN, {}, {"flip": 1.0, "scale": (3.0, 4.0), "stretch": 2.0}):
        source = generator(3)
        ClipAugmentation((16, 16), **arguments)(frames, labels, source)
        following.append(torch.rand((), generator=source).item())
    assert len(set(following)) == 1


def test_scales_and_flips_are_drawn_evenly():
    augmentation = ClipAugmentation((16, 16))
    source = generator()
    drawn = [augmentation._draw(source) for _ in range(2000)]
    scales = np.array([values["scale"] for values in drawn])
    assert 0.5 <= scales.min() < 0.52 and 1.98 < scales.max() <= 2.0 and scales.mean() == pytest.approx(1.25, abs=0.04)
    assert np.mean([values["flip"] for values in drawn]) == pytest.approx(0.5, abs=0.05)
    factors = np.array([values["factors"] for values in drawn])
    assert (np.abs(factors[:, :3] - 1) <= 0.4).all() and (np.abs(factors[:, 3]) <= 0.1).all()
    assert len({tuple(values["order"]) for values in drawn}) == 24


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(size=(0, 8)), r"size must be \(height, width\), each at least 1, got \(0, 8\)"),
        (dict(size=(8, 8), flip=1.5), r"flip must be a probability in \[0, 1\], got 1.5"),
        (dict(size=(8, 8), colour=-0.1), r"colour must be a strength in \[0, 1\], got -0.1"),
        (dict(size=(8, 8), stretch=0.5), "stretch must be a finite ratio of at least 1, got 0.5"),
        (dict(size=(8, 8), scale=(2.0, 0.5)), r"scale must be \(low, high\) with 0 < low <= high, got \(2.0, 0.5\)"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        ClipAugmentation(**arguments)


def test_inputs_are_checked():
    frames, labels = clip()
    augmentation = ClipAugmentation((8, 8))
    with pytest.raises(ValueError, match=r"frames must be \(F, 3, H, W\) uint8, got .*float32"):
        augmentation(frames.float(), labels, generator())
    with pytest.raises(ValueError, match=r"labels must be \(F, h, w\) with F = 3, got \(2, 40, 48\)"):
        augmentation(frames, labels[:2], generator())


SILENCE = -4.6052


def make_clip(category="dog", frames=2, index=0, sound=0.0, annotated=(0, 1)):
    """Makes a clip of one grey level. Its object is a square of 10 x 10 of 30 x 20 pixels, at its own place in each
    clip."""
    labels = torch.full((frames, 20, 30), 255)
    for frame in annotated:
        labels[frame] = 0
        labels[frame, 5:15, 10 * index : 10 * index + 10] = 1
    return {
        "frames": torch.full((frames, 3, 20, 30), 50 * (index + 1), dtype=torch.uint8),
        "labels": labels,
        "input_features": torch.full((5, 96, 64), sound),
        "input_features_mask": torch.ones(5, dtype=torch.int64),
        "frame_indices": list(range(frames)),
        "category": category,
    }


def mix_two(one, other, **options):
    clips = [one, other]
    before = [{name: copy.deepcopy(value) for name, value in clip.items()} for clip in clips]
    mixed = ClipMixing(**options)(clips, [torch.Generator().manual_seed(seed) for seed in (1, 2)])
    for clip, earlier in zip(clips, before, strict=True):
        for name, value in clip.items():
            assert torch.equal(value, earlier[name]) if torch.is_tensor(value) else value == earlier[name]
    return mixed


def test_a_silent_object_is_seen_and_neither_heard_nor_in_the_mask():
    mixed, _ = mix_two(make_clip("dog", index=0), make_clip("cat", index=2), paste=1.0, heard=0.0)
    assert (mixed["frames"][:, :, 5:15, 20:30] == 150).all()
    assert (mixed["frames"][:, :, :5] == 50).all() and (mixed["frames"][:, :, :, :20] == 50).all()
    assert torch.equal(mixed["labels"], make_clip(index=0)["labels"])
    assert torch.equal(mixed["input_features"], make_clip()["input_features"])


def test_a_heard_object_is_in_the_mask_and_its_sound_in_the_mixture():
    mixed, _ = mix_two(
        make_clip("dog", index=0, sound=1.0), make_clip("cat", index=2, sound=2.0), paste=1.0, heard=1.0
    )
    expected = make_clip(index=0)["labels"] + make_clip(index=2)["labels"]
    assert torch.equal(mixed["labels"], expected)
    loudness = math.hypot(math.exp(1) - 0.01, math.exp(2) - 0.01)
    torch.testing.assert_close(mixed["input_features"], torch.full((5, 96, 64), math.log(loudness + 0.01)))


@pytest.mark.parametrize("categories", [("dog", "dog"), ("", ""), ("dog", "")])
def test_an_object_that_may_be_of_the_clips_own_category_is_never_silent(categories):
    mixed, _ = mix_two(make_clip(categories[0], index=0), make_clip(categories[1], index=2), paste=1.0, heard=0.0)
    assert (mixed["labels"][:, 5:15, 20:30] == 1).all()


def test_a_still_of_the_annotated_frame_is_pasted_into_all_frames_and_labels_only_annotated_ones():
    own, other = make_clip("dog", index=0, annotated=[0]), make_clip("cat", index=2, annotated=[0])
    other["frames"][0] = 200
    mixed, _ = mix_two(own, other, paste=1.0, heard=1.0)
    assert (mixed["frames"][:, :, 5:15, 20:30] == 200).all()
    assert (mixed["labels"][0, 5:15, 20:30] == 1).all() and (mixed["labels"][1] == 255).all()


def test_each_frame_gets_what_sounds_in_that_frame():
    own, other = make_clip("dog", index=0), make_clip("cat", index=2)
    other["labels"][1] = 0  # the partner's object is silent in this frame
    mixed, _ = mix_two(own, other, paste=1.0, heard=1.0)
    assert (mixed["frames"][0, :, 5:15, 20:30] == 150).all() and (mixed["frames"][1] == 50).all()


@pytest.mark.parametrize("reason", ["covered", "speck", "nothing sounds", "other seconds", "other size", "not drawn"])
def test_clips_stay_as_they_are_where_an_object_cannot_be_pasted(reason):
    own, other = make_clip("dog", index=0), make_clip("cat", index=0 if reason == "covered" else 2)
    if reason == "speck":
        other["labels"] = (other["labels"] == 1).long() * 0
        other["labels"][:, 0, 0] = 1
    elif reason == "nothing sounds":
        other["labels"][:] = 0
    elif reason == "other seconds":
        other["frame_indices"] = [0, 3]
    elif reason == "other size":
        other = {**other, "frames": other["frames"][..., :-1], "labels": other["labels"][..., :-1]}
    mixed, _ = mix_two(own, other, paste=0.0 if reason == "not drawn" else 1.0)
    for name, value in own.items():
        assert torch.equal(mixed[name], value) if torch.is_tensor(value) else mixed[name] == value


def test_a_clip_alone_is_left_alone_and_the_same_generators_mix_the_same():
    assert torch.equal(ClipMixing(1.0)([make_clip()], [torch.Generator()])[0]["frames"], make_clip()["frames"])
    clips = [make_clip(category, index=index % 3) for index, category in enumerate("abcdef")]
    once, again = (
        ClipMixing(0.5)(clips, [torch.Generator().manual_seed(seed) for seed in range(6)]) for _ in range(2)
    )
    for one, other in zip(once, again, strict=True):
        assert torch.equal(one["frames"], other["frames"]) and torch.equal(one["labels"], other["labels"])
    changed = [not torch.equal(one["frames"], clip["frames"]) for one, clip in zip(once, clips, strict=True)]
    assert any(changed) and not all(changed)


def test_silence_adds_nothing_to_a_sound():
    sound = torch.rand(2, 96, 64) * 3 - 4
    torch.testing.assert_close(mix_log_mels(sound, torch.full_like(sound, SILENCE)), sound, rtol=0, atol=1e-4)


@pytest.mark.parametrize("options", [{"paste": 1.5}, {"heard": -0.1}, {"paste": float("nan")}])
def test_mixing_takes_probabilities(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be a probability"):
        ClipMixing(**options)

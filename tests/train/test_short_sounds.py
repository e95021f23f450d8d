import torch

from auss.train.short_sounds import repeat_last_example


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

"""Compares segments and shares with a loop over pixels. Some pixels and one block are not annotated."""

import torch

from auss.modeling_auss.losses.frame_targets import frame_targets


def test_shares_are_those_of_the_annotated_part_of_each_block():
    labels = torch.randint(0, 3, (2, 6, 8), generator=torch.Generator().manual_seed(0))
    labels[0, 0, :3] = 255
    labels[1, :2, :2] = 255  # a whole block
    targets = frame_targets(labels, (3, 4), 3)
    for frame in range(2):
        for row in range(3):
            for column in range(4):
                block = labels[frame, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                known = block[block != 255]
                place = row * 4 + column
                assert targets.annotated[frame, 0, place] == len(known) / 4
                for label in range(3):
                    share = (known == label).float().mean() if len(known) else torch.tensor(0.0)
                    torch.testing.assert_close(targets.shares[frame, label, place], share)


def test_labels_that_a_frame_does_not_show_are_not_present():
    labels = torch.zeros(2, 4, 4, dtype=torch.long)
    labels[1, 0] = 1
    labels[1, 1] = 255
    targets = frame_targets(labels, (2, 2), 3)
    assert targets.present.tolist() == [[True, False, False], [True, True, False]]
    assert torch.equal(targets.segments.sum(1).bool(), targets.valid)
    assert targets.valid[0].all() and not targets.valid[1, 1].any()

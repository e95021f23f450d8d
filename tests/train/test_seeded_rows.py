import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from auss.train.avsbench import load_avsbench
from auss.train.seeded_rows import SeededRows, augmentation_seed


def seeds(rows):
    return [rows[index]["augmentation_seed"] for index in range(len(rows))]


def test_seeds_depend_on_seed_epoch_and_index_and_nothing_else():
    parts = [(seed, epoch, index) for seed in range(4) for epoch in range(4) for index in range(4)]
    values = [augmentation_seed(*part) for part in parts]
    assert len(set(values)) == len(parts) and all(0 <= value < 2**63 for value in values)
    assert values == [augmentation_seed(*part) for part in parts]


def test_epochs_change_the_seeds_and_come_back(s4_root):
    rows = SeededRows(load_avsbench(s4_root, "s4", "train"), seed=3)
    first = seeds(rows)
    rows.set_epoch(1)
    assert rows.epoch == 1 and set(seeds(rows)).isdisjoint(first)
    rows.set_epoch(0)
    assert seeds(rows) == first
    assert set(seeds(SeededRows(rows.dataset, seed=4))).isdisjoint(first)


def test_rows_are_read_without_opening_pictures(s4_root, monkeypatch):
    dataset = load_avsbench(s4_root, "s4", "train")
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("a picture was opened"))
    row = SeededRows(dataset)[1]
    assert row["clip_id"] == "train_1" and row["annotated_frames"] == [0]
    assert row["frames"][4]["path"].endswith("train_1_5.png") and row["frames"][4]["bytes"] is None
    with pytest.raises(pytest.fail.Exception):
        dataset[1]  # what the data set itself would do


def test_any_sequence_of_dicts_is_wrapped_and_left_as_it_was():
    plain = [{"clip_id": "a"}, {"clip_id": "b"}]
    rows = SeededRows(plain)
    assert rows[1]["clip_id"] == "b" and "augmentation_seed" in rows[1]
    assert plain == [{"clip_id": "a"}, {"clip_id": "b"}]


def test_the_end_is_an_index_error():
    rows = SeededRows([{"clip_id": "a"}])
    assert len(list(rows)) == 1
    with pytest.raises(IndexError, match="index must be 0 to 0, got -1"):
        rows[-1]


def test_precomputed_features_come_with_their_row():
    features, mask = torch.arange(2.0)[:, None], torch.ones(2, 1)
    row = SeededRows([{}, {}], input_features=(features, mask))[1]
    assert row["input_features"].tolist() == [1.0] and row["input_features_mask"].tolist() == [1.0]
    with pytest.raises(ValueError, match=r"input_features must be a pair of 3 rows, got \[2, 2\]"):
        SeededRows([{}, {}, {}], input_features=(features, mask))


def test_negative_numbers_are_refused():
    with pytest.raises(ValueError, match="seed must be 0 or more, got -1"):
        SeededRows([], seed=-1)
    with pytest.raises(ValueError, match="epoch must be 0 or more, got -2"):
        SeededRows([]).set_epoch(-2)


@pytest.mark.parametrize("workers", [0, 1])
def test_workers_that_live_on_see_the_epoch(workers):
    rows = SeededRows([{}, {}, {}])
    loader = DataLoader(
        rows,
        batch_size=None,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    for epoch in range(3):
        rows.set_epoch(epoch)
        assert [row["augmentation_seed"] for row in loader] == [augmentation_seed(0, epoch, i) for i in range(3)]

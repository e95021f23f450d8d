import pytest

from auss.train.data.avsbench import load_avsbench
from auss.train.data.rows import SeededRows
from auss.train.evaluation.swapped_sounds import SwappedSounds, other_categories


def test_every_clip_hears_another_category_the_same_one_each_time():
    categories = ["dog", "bell", "dog", "clock", "bell", "dog", "frog"]
    partners = other_categories(categories)
    assert all(categories[partner] != name for partner, name in zip(partners, categories, strict=True))
    assert partners == other_categories(categories)
    assert any(partners != other_categories(categories, seed) for seed in range(1, 5))


@pytest.mark.parametrize("categories", [["dog", "dog"], ["", ""], ["dog", ""], []])
def test_fewer_than_two_named_categories_are_refused(categories):
    with pytest.raises(ValueError, match="swapping sounds needs clips of at least two named categories, got"):
        other_categories(categories)


def test_rows_keep_all_but_their_sound(s4_root):
    dataset = load_avsbench(s4_root, "s4", "test")
    rows = SeededRows(dataset)
    swapped = SwappedSounds(rows, dataset)
    assert len(swapped) == 2
    for index in range(2):
        own, other = rows[index], rows[1 - index]
        assert swapped[index]["audio"]["path"] == other["audio"]["path"] != own["audio"]["path"]
        assert {key: swapped[index][key] for key in own if key != "audio"} == {
            key: own[key] for key in own if key != "audio"
        }

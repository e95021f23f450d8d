import pytest

from auss.train.evaluation.score_tables import format_markdown, format_text, result_files, results_table, scoring_notes


@pytest.fixture
def semantic():
    """Makes results of three classes. Two of them occur, one only in the padding."""
    classes = {
        0: {"J": 0.9, "F": 0.8, "frames": 5, "name": "background"},
        1: {"J": 0.0, "F": 0.0, "frames": 0, "name": "bell"},
        2: {"J": 0.3, "F": 0.4, "frames": 9, "name": "guitar"},
    }
    plain = {"M_J": 0.3, "M_F": 0.4, "classes": {2: classes[2]}}
    return {
        **{"M_J": 0.4, "M_F": 0.401, "classes": classes, "frames": 9, "padded_frames": 5, "plain": plain},
        **{"sizes": {"16 x 24": 2, "180 x 320": 1}, "official_size": "224 x 224"},
    }


def test_the_official_figure_leads_and_the_plain_one_stands_beside_it(semantic):
    assert results_table(semantic) == [
        ("background", 5, 0.9, 0.8),
        ("guitar", 9, 0.3, 0.4),
        ("all", 9, 0.4, 0.401),
        ("all, plain", 9, 0.3, 0.4),
    ]


def test_the_tables_say_at_which_sizes_masks_were_scored(semantic):
    text, markdown = format_text(semantic), format_markdown(semantic, "title")
    for part in (text, markdown):
        assert "masks at 224 x 224, clips of fewer than 10 frames padded with background (5 frames)" in part
        assert "the mean over all 3 classes, of which 2 occur" in part
        assert "without padding, the mean over the 1 classes that occur" in part
        assert "masks scored at their own size, height x width: 16 x 24 (2 clips), 180 x 320 (1 clips)" in part
    assert "| all, plain | 9 | 0.300 | 0.400 |" in markdown
    two_labels = {"M_J": 0.1, "M_F": 0.2, "clips": 3, "sizes": {"224 x 224": 3}}
    assert format_text(two_labels).splitlines()[-1] == (
        "masks scored at their own size, height x width: 224 x 224 (3 clips)"
    )
    assert scoring_notes({"M_J": 0.1, "M_F": 0.2, "clips": 3}) == []


def test_files_of_an_earlier_evaluation_are_named(tmp_path):
    files = result_files(tmp_path, "s4-test-own", overwrite=False)
    files["markdown"].write_text("mine")
    with pytest.raises(ValueError, match="has s4-test-own.md of an earlier evaluation: pass --overwrite"):
        result_files(tmp_path, "s4-test-own", overwrite=False)
    assert result_files(tmp_path, "s4-test-own", overwrite=True) == files

"""Who sounds when in the composed videos, where frames lie between the changes, and what is averaged over them."""

import numpy as np
import pytest

from .test_bench import BENCHMARKS


@pytest.fixture
def benchmark_windows(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import benchmark_windows

    return benchmark_windows


@pytest.mark.parametrize("whole", [True, False])
def test_turns_follow_one_another_and_each_is_another_objects(benchmark_windows, whole):
    for seed in range(20):
        turns = benchmark_windows.random_turns(np.random.default_rng(seed), 17.0, whole)
        assert turns[0][0] == 0 and turns[-1][1] == 17
        assert all(left[1] == right[0] and left[2] != right[2] for left, right in zip(turns, turns[1:], strict=False))
        assert min(stop - start for start, stop, _ in turns) >= 1
        assert not whole or all(start == round(start) for start, _, _ in turns)


def test_places_of_frames(benchmark_windows):
    times = np.arange(0, 12, 0.5)
    places = benchmark_windows.places(times, [(0.0, 6.0, 0), (6.0, 7.5, 1), (7.5, 12.0, 2)])
    chosen = {name.split(":")[0]: times[mask].tolist() for name, mask in places.items()}
    assert chosen["middle"] == [2.5, 3.0]
    assert chosen["1st second after a change"] == [6.0, 6.5, 7.5, 8.0]
    assert chosen["2nd second after a change"] == [7.0, 8.5, 9.0]
    assert chosen["1st second before a change"] == [5.0, 5.5, 6.5, 7.0]
    assert chosen["last second"] == [11.0, 11.5] and chosen["1st second of the video"] == [0.0, 0.5]
    assert chosen["sounds of less than 2 s"] == [6.0, 6.5, 7.0]
    assert chosen["all"] == times.tolist()


def test_means_weigh_frames_and_errors_count_videos(benchmark_windows):
    scores = [np.array([1.0, 1.0, 1.0, 0.0]), np.array([0.0, 0.5])]
    masks = [np.array([True, True, True, False]), np.array([True, False])]
    mean, error, count = benchmark_windows.summarise(scores, masks)
    assert mean == 0.75 and count == 4
    assert error == pytest.approx(np.sqrt(0.75**2 + 0.75**2) / 4)
    assert benchmark_windows.summarise(scores, [np.zeros(4, bool), np.zeros(2, bool)])[2] == 0

"""Log-mel rows of a sound that comes in pieces are those of the whole sound."""

import numpy as np
import pytest
import torch

from auss.files.errors import InputError
from auss.inference.live.sound_memory import SoundMemory
from auss.processing.log_mel import cut_into_examples, log_mel
from auss.processing.waveforms import resample

BLOCK = 24


def noise(seconds, rate, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate))


def whole_rows(waveform, rate):
    """The rows of the examples of a whole waveform, which lie one after the other."""
    return log_mel(cut_into_examples(torch.from_numpy(resample(waveform, rate)))).flatten(0, 1).numpy()


def pushed(waveform, rate, sizes, start=0.0, **settings):
    memory = SoundMemory(**({"seconds": 10.0, "block": BLOCK} | settings))
    position, turn = 0, 0
    while position < len(waveform):
        piece = waveform[position : position + sizes[turn % len(sizes)]]
        memory.push(piece, rate, start + position / rate)
        position, turn = position + len(piece), turn + 1
    return memory


@pytest.mark.parametrize("rate, sizes", [(16_000, [160, 1]), (48_000, [1024]), (44_100, [7, 5000]), (8_000, [64])])
def test_pieces_do_not_matter(rate, sizes):
    waveform = noise(4.0, rate)
    memory = pushed(waveform, rate, sizes)
    expected = whole_rows(waveform, rate)
    count = min(memory.num_rows, len(expected))
    assert count >= 3.6 * 100
    # The resampler ends a piece at a time with other rounding than a whole sound.
    np.testing.assert_allclose(memory.rows(0, count), expected[:count], atol=1e-4)
    assert memory.end == pytest.approx(4.0)


def test_each_row_is_computed_once(monkeypatch):
    from auss.inference.live import sound_memory

    rows = []
    original = sound_memory.log_mel
    monkeypatch.setattr(sound_memory, "log_mel", lambda samples: rows.append(samples.shape[1]) or original(samples))
    memory = pushed(noise(5.0, 16_000), 16_000, [500])
    assert sum(1 + (count - 400) // 160 for count in rows) == memory.num_rows


def test_only_the_last_seconds_are_kept():
    waveform = noise(6.0, 16_000)
    memory = pushed(waveform, 16_000, [1600], seconds=2.0)
    assert memory.num_rows > 550 and memory.num_rows - memory.first_row == 200
    expected = whole_rows(waveform, 16_000)[memory.first_row : memory.num_rows]
    np.testing.assert_allclose(memory.rows(memory.first_row, memory.num_rows)[: len(expected)], expected, atol=1e-6)


def test_gaps_are_silence_and_stamps_that_differ_little_are_not():
    memory = SoundMemory(10.0, BLOCK)
    memory.push(noise(1.0, 16_000), 16_000, 5.0)
    memory.push(noise(1.0, 16_000), 16_000, 6.03)  # within the tolerance: directly after
    assert memory.end == pytest.approx(7.0)
    memory.push(noise(1.0, 16_000), 16_000, 8.0)
    assert memory.end == pytest.approx(9.0) and memory.origin == 5.0
    assert memory.time_of(0) == 5.0
    assert memory.peak(205, 295) == 0 < memory.peak(100, 190) and memory.peak(305, 380) > 0


def test_sound_that_was_already_heard_is_left_out():
    waveform = noise(3.0, 16_000)
    memory = SoundMemory(10.0, BLOCK)
    memory.push(waveform[:32_000], 16_000, 0.0)
    memory.push(waveform[:8_000], 16_000, 0.0)  # all of it came before
    memory.push(waveform[24_000:], 16_000, 1.5)
    assert memory.end == pytest.approx(3.0)
    expected = whole_rows(waveform, 16_000)[: memory.num_rows]
    np.testing.assert_allclose(memory.rows(0, len(expected)), expected, atol=1e-6)


@pytest.mark.parametrize("time", [-20.0, 100.0])
def test_a_clock_that_starts_again_begins_anew(time):
    memory = SoundMemory(10.0, BLOCK)
    memory.push(noise(2.0, 16_000), 16_000, 0.0)
    memory.push(noise(1.0, 16_000), 16_000, time)
    assert (memory.restarts, memory.origin, memory.end) == (1, time, pytest.approx(time + 1.0))


def test_the_rate_may_change():
    low, high = noise(2.0, 16_000), noise(2.0, 48_000, seed=1)
    memory = SoundMemory(10.0, BLOCK)
    for waveform, rate in ((low, 16_000), (high, 48_000), (low, 16_000)):
        memory.push(waveform, rate)
    assert memory.end == pytest.approx(6.0)
    np.testing.assert_allclose(memory.rows(210, 380)[2:], whole_rows(high, 48_000)[12:180], atol=0.2)
    np.testing.assert_allclose(memory.rows(0, 190), whole_rows(low, 16_000)[:190], atol=1e-6)


def test_integers_and_channels_are_taken_and_bad_values_refused():
    waveform = (noise(1.0, 16_000) * 32767).astype(np.int16)
    one, two = SoundMemory(5.0, BLOCK), SoundMemory(5.0, BLOCK)
    one.push(waveform, 16_000)
    two.push(np.stack([waveform, waveform]), 16_000)
    np.testing.assert_array_equal(one.rows(0, 90), two.rows(0, 90))
    one.push(np.zeros(0), 16_000)  # no samples are no piece
    for samples, rate, time in (([np.nan], 16_000, None), ([0.0], 0, None), ([0.0], 16_000, float("inf"))):
        with pytest.raises(InputError):
            one.push(samples, rate, time)
    assert one.end == pytest.approx(1.0)

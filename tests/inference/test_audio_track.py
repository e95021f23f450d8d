"""The sound lies where its time stamps say, in any container, and is read forwards in windows."""

import av
import numpy as np
import pytest

from auss.inference.audio_track import AudioTrack
from auss.inference.decoding import Damage


@pytest.mark.parametrize("name", ["clip.mp4", "clip.webm", "clip.mkv"])
def test_windows_join_to_the_whole(make_video, media, name):
    path = make_video(name, seconds=4.0, channels=2)
    whole = AudioTrack(path).window(0, 4)
    track = AudioTrack(path)
    pieces = [track.window(start, start + 0.7) for start in np.arange(0, 4.2, 0.7)]
    joined = np.concatenate(pieces, axis=1)
    assert whole.shape == (2, 4 * 48_000) and whole.dtype == np.float32
    np.testing.assert_array_equal(joined[:, : whole.shape[1]], whole)
    lag, match = media.lag_and_match(media.tone(4.0, 48_000)[0], whole[0], 48_000)
    assert abs(lag) < 0.0015 and match > 0.99


def test_window_ends_with_the_sound(make_video):
    track = AudioTrack(make_video("short.mkv", seconds=3.0, codecs=("libx264", "pcm_s16le"), rate=16_000))
    assert track.window(2.5, 7.5).shape == (1, 8000)
    assert track.finished and track.window(7.5, 12.5).shape == (1, 0)


def test_windows_may_leave_sound_out(make_video):
    path = make_video("long.mkv", seconds=6.0, codecs=("libx264", "pcm_s16le"), rate=16_000)
    track = AudioTrack(path)
    track.window(0, 1)
    np.testing.assert_array_equal(track.window(4, 5), AudioTrack(path).window(0, 6)[:, 64_000:80_000])


def test_origin_moves_the_time_line(make_video):
    path = make_video("clip.mkv", codecs=("libx264", "pcm_s16le"), rate=16_000)
    np.testing.assert_array_equal(AudioTrack(path, origin=1.0).window(0, 1), AudioTrack(path).window(1, 2))


def sound_file(path, pieces: list[tuple[int | None, np.ndarray]], rate: int = 8000):
    """A mkv file of PCM whose packets have the given first samples as time stamps."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        for position, samples in pieces:
            frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate, position
            for packet in stream.encode(frame):
                container.mux(packet)
        container.mux(stream.encode(None))
    return path


def test_a_gap_is_silent(tmp_path):
    loud = np.full(4000, 16_000, np.int16)
    track = AudioTrack(sound_file(tmp_path / "gap.mkv", [(0, loud), (12_000, loud)]))
    waveform = track.window(0, 5)[0]
    assert len(waveform) == 16_000
    assert (waveform[:4000] > 0.4).all() and (waveform[4000:12_000] == 0).all() and (waveform[12_000:] > 0.4).all()


def test_a_rounded_stamp_is_no_gap(tmp_path):
    loud = np.full(4000, 16_000, np.int16)
    track = AudioTrack(sound_file(tmp_path / "jitter.mkv", [(0, loud), (4080, loud)]))
    waveform = track.window(0, 5)[0]
    assert len(waveform) == 8000 and (waveform > 0.4).all()


def test_stamps_that_start_anew_follow(tmp_path, monkeypatch):
    loud = np.full(8000, 16_000, np.int16)
    path = sound_file(tmp_path / "joined.mkv", [(position, loud) for position in range(0, 32_000, 8000)])
    damage = Damage()
    track = AudioTrack(path, damage=damage)
    # No muxer writes stamps that run backwards, so they are turned back on the way out of the decoder.
    original = track._frames

    def restarted():
        for frame in original:
            frame.pts = frame.pts - 3000 if frame.pts >= 3000 else frame.pts
            yield frame

    track._frames = restarted()
    assert track.window(0, 5).shape == (1, 32_000) and (track._end == 32_000)
    assert damage.repaired_time_stamps == 1


def test_needs_sound(make_video):
    with pytest.raises(ValueError, match="has no sound track"):
        AudioTrack(make_video("mute.mp4", sound=False))

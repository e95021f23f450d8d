"""What is written while it runs: frames and sound at their times, a finished file, and no file after a failure."""

import av
import numpy as np
import pytest

from auss.files.errors import InputError, MissingPackageError
from auss.inference.live import live_output
from auss.inference.live.live_feed import LiveFeed, SoundPiece
from auss.inference.live.live_output import LiveWriter, OutputThread, PreviewWindow, check_live_output, stream_format
from auss.inference.live.live_segmenter import LiveMask
from auss.inference.live.sources import LiveSource
from auss.inference.live.stream_reader import SharedOrigin, StreamReader


def source_of(path):
    """All frames and pieces of sound of a file, as a live source gives them."""
    feed = LiveFeed(most_waiting=10_000)
    StreamReader(LiveSource("x", "x"), av.open(str(path)), feed, SharedOrigin(), 5.0).run()
    pieces, frames = [], []
    while not feed.exhausted:
        sound, frame = feed.take(0.0)
        pieces += sound
        frames += [frame] if frame is not None else []
    return pieces, frames


def mask_of(frame, inside):
    segmentation = np.zeros(frame.frame.picture.shape[:2], np.uint8)
    segmentation[inside] = 1
    return LiveMask(0, frame.frame.time, None, segmentation, None, None, 0.5)


def content(path):
    """Times and pictures, and the sound with its first time, of a written file."""
    with av.open(str(path)) as container:
        pictures = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return pictures, None, None
        frames = list(container.decode(audio=0))
    sound = np.concatenate([frame.to_ndarray().mean(axis=0) for frame in frames])
    return pictures, frames[0].time, sound


def write(path, pieces, frames, inside=np.s_[:24, :32]):
    output = OutputThread(str(path), num_labels=2)
    output.start()
    for piece in pieces:
        output.put_sound(piece)
    for frame in frames:
        output.put_frame(frame, mask_of(frame, inside))
    output.close()
    return output


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.webm"])
def test_frames_and_sound_keep_their_times_and_the_mask_is_drawn(make_video, media, tmp_path, name):
    waveform = np.zeros((1, 3 * 48_000), np.float32)
    waveform[:, 96_000:] = media.tone(1.0, 48_000)
    pieces, frames = source_of(make_video("clip.mkv", waveform=waveform, codecs=("libx264", "flac")))
    kept = frames[:5] + frames[9:]  # four frames were dropped
    output = write(tmp_path / name, pieces, kept)
    pictures, start, sound = content(tmp_path / name)
    assert output.written == len(pictures) == 26
    np.testing.assert_allclose([time for time, _ in pictures], [frame.frame.time for frame in kept], atol=0.002)
    red = pictures[0][1][10, 10].astype(int)
    assert red[0] > red[1] + 60 and red[0] > red[2] + 60  # the marked part, which was black
    loud = np.flatnonzero(np.abs(sound) > 0.02)[0] / 48_000 + start
    assert loud == pytest.approx(2.0, abs=0.05)
    assert list(tmp_path.glob(".auss*")) == []


def test_gaps_in_the_sound_are_filled_and_sound_that_comes_twice_is_written_once(make_video, media, tmp_path):
    pieces, frames = source_of(make_video("clip.mkv", waveform=media.tone(3.0, 48_000), codecs=("libx264", "flac")))
    half = [piece for piece in pieces if not 1.0 <= piece.time < 2.0]
    write(tmp_path / "out.mkv", [*half, *half[:5]], frames)
    _, start, sound = content(tmp_path / "out.mkv")
    level = [np.abs(sound[round((at - start) * 48_000) :][:9_600]).max() for at in (0.5, 1.4, 2.5)]
    assert level[1] < 0.01 < 0.05 < min(level[0], level[2])
    assert len(sound) / 48_000 == pytest.approx(3.0, abs=0.1)


def test_the_rate_and_the_channels_of_the_sound_may_change(make_video, media, tmp_path):
    one, frames = source_of(make_video("a.mkv", seconds=1.0, codecs=("libx264", "flac")))
    two, _ = source_of(make_video("b.mkv", seconds=1.0, rate=16_000, channels=2, codecs=("libx264", "flac")))
    later = [SoundPiece(piece.time + 1.0, piece.mono, piece.sampling_rate, piece.frame) for piece in two]
    write(tmp_path / "out.mkv", [*one, *later], frames)
    assert len(content(tmp_path / "out.mkv")[2]) / 48_000 == pytest.approx(2.0, abs=0.1)


def test_no_frame_gives_no_file_and_an_error_leaves_none(make_video, tmp_path, monkeypatch):
    pieces, frames = source_of(make_video("clip.mkv", seconds=1.0))
    assert write(tmp_path / "none.mp4", pieces, []).written == 0
    monkeypatch.setattr(LiveWriter, "write_frame", lambda *_: 1 / 0)
    output = OutputThread(str(tmp_path / "broken.mp4"), 2)
    output.start()
    for frame in frames[:10]:  # more than the queue holds: the failed thread blocks nobody
        output.put_frame(frame, mask_of(frame, np.s_[:2]))
    with pytest.raises(ZeroDivisionError):
        output.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mkv"]


def test_frames_wait_for_a_slow_encoder(make_video, tmp_path):
    _, frames = source_of(make_video("clip.mkv", seconds=1.0))
    output = OutputThread(str(tmp_path / "out.mkv"), 2)  # not started, so nothing is taken
    for frame in frames[:4]:
        output.put_frame(frame, mask_of(frame, np.s_[:2]))
    assert output._frames_waiting == 4
    output.start()
    for frame in frames[4:]:
        output.put_frame(frame, mask_of(frame, np.s_[:2]))
        assert output._frames_waiting <= 4
    output.close()
    assert output.written == 10


def test_outputs_are_checked_before_anything_is_made(tmp_path):
    (tmp_path / "there.mp4").write_bytes(b"")
    assert stream_format("udp://h:5").muxer == "mpegts" and stream_format("a.mp4") is None
    check_live_output("udp://127.0.0.1:5", False)
    check_live_output(str(tmp_path / "new.mkv"), False)
    with pytest.raises(FileExistsError):
        check_live_output(str(tmp_path / "there.mp4"), False)
    for wrong in ("rtmp://h/x", "out.avi"):
        with pytest.raises(InputError, match="output must"):
            check_live_output(wrong, False)


def test_a_stream_of_mpeg_ts_can_be_written(make_video, tmp_path, monkeypatch):
    pieces, frames = source_of(make_video("clip.mkv", seconds=1.0))
    monkeypatch.setattr(live_output, "stream_format", lambda target: live_output.STREAM_FORMATS["udp"])
    write(tmp_path / "out.ts", pieces, frames)
    pictures, _, sound = content(tmp_path / "out.ts")
    assert len(pictures) == 10 and len(sound) / 48_000 == pytest.approx(1.0, abs=0.1)


def test_a_window_that_cannot_be_opened_is_said(monkeypatch):
    tkinter = pytest.importorskip("tkinter")

    def refuse():
        raise tkinter.TclError("no display name")

    monkeypatch.setattr(tkinter, "Tk", refuse)
    with pytest.raises(MissingPackageError, match="no display name.*--output"):
        PreviewWindow("x")
    monkeypatch.setitem(__import__("sys").modules, "tkinter", None)
    with pytest.raises(MissingPackageError, match="tkinter.*--output"):
        PreviewWindow("x")

"""The reading thread: what a stream holds arrives in the feed, whatever becomes of the stream."""

import av
import numpy as np
import pytest

from auss.files.errors import InputError
from auss.inference.live.live_feed import LiveFeed
from auss.inference.live.sources import LiveSource
from auss.inference.live.stream_reader import SharedOrigin, StreamReader

SOURCE = LiveSource("tcp://somewhere", "tcp://somewhere")


class Keeper(LiveFeed):
    """A feed that keeps everything."""

    def __init__(self):
        super().__init__()
        self.frames, self.pieces = [], []

    def put_frame(self, frame, info):
        self.frames.append(frame)
        self.info = info

    def put_sound(self, piece):
        self.pieces.append(piece)


def read(path, timeout=5.0, **settings):
    feed = Keeper()
    reader = StreamReader(SOURCE, av.open(str(path)), feed, SharedOrigin(), timeout, **settings)
    reader.run()
    return feed, reader


def test_picture_and_sound_have_one_clock(make_video, media):
    waveform = np.zeros((1, 3 * 48_000), np.float32)
    waveform[:, 48_000:] = media.tone(2.0, 48_000)
    feed, reader = read(make_video("clip.mkv", waveform=waveform, codecs=("libx264", "flac")))
    assert [media.number_of(frame.picture) for frame in feed.frames] == list(range(30))
    np.testing.assert_allclose([frame.time for frame in feed.frames], np.arange(30) / 10, atol=0.002)
    sound = np.concatenate([piece.mono for piece in feed.pieces])
    assert feed.pieces[0].time == 0.0 and len(sound) == len(waveform[0])
    np.testing.assert_allclose(sound, waveform[0], atol=1e-4)
    assert feed.ending == "" and feed.info.has_audio and (feed.info.height, feed.info.width) == (48, 64)
    assert reader.has_sound


def test_channels_are_mixed_as_in_files(make_video, media):
    right = np.concatenate([np.zeros((1, 48_000)), media.tone(1.0, 48_000)]).astype(np.float32)
    feed, _ = read(make_video("clip.mkv", seconds=1.0, channels=2, waveform=right, codecs=("libx264", "flac")))
    sound = np.concatenate([piece.mono for piece in feed.pieces])
    np.testing.assert_allclose(sound, right[1], atol=0.01)  # a silent channel does not make the other one quieter


def test_size_rate_and_channels_may_change_on_the_way(make_video, tmp_path):
    """Two transport streams one after the other, as of a sender that starts again with other settings."""
    parts = [
        make_video("one.ts", seconds=1.0, codecs=("libx264", "aac")),
        make_video("two.ts", seconds=1.0, size=(96, 64), rate=44_100, channels=2, codecs=("libx264", "aac")),
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    feed, _ = read(joined)
    assert {frame.picture.shape for frame in feed.frames} == {(48, 64, 3)}  # scaled to the size of the first
    assert len(feed.frames) >= 18
    times = [frame.time for frame in feed.frames]
    assert times == sorted(times) and times[-1] < 3.0
    assert {piece.sampling_rate for piece in feed.pieces} == {48_000, 44_100}
    assert {piece.frame.layout.nb_channels for piece in feed.pieces} == {1, 2}
    assert feed.ending == ""


def test_no_sound_and_sound_alone(make_video):
    feed, reader = read(make_video("mute.mp4", sound=False))
    assert not reader.has_sound and len(feed.frames) == 30 and not feed.info.has_audio
    sound = make_video("sound.mkv", picture=False)
    with pytest.raises(InputError, match="only sound"):
        StreamReader(SOURCE, av.open(str(sound)), Keeper(), SharedOrigin(), 5.0)
    feed, _ = read(sound, only_sound=True)
    assert feed.pieces and feed.ending is None  # a microphone that ends does not end the picture


def test_a_second_source_brings_the_sound(make_video):
    feed, reader = read(make_video("clip.mp4"), has_sound=True)
    assert feed.pieces == [] and feed.info.has_audio and reader.has_sound


def test_packets_that_cannot_be_decoded_are_left_out(make_video, caplog):
    path = make_video("clip.ts", seconds=3.0, size=(96, 128), codecs=("libx264", "aac"))
    content = bytearray(path.read_bytes())
    for start in range(len(content) // 3, len(content), len(content) // 9):
        content[start : start + 400] = b"\xff" * 400
    path.write_bytes(content)
    feed, reader = read(path)
    assert 15 <= len(feed.frames) <= 30 and feed.ending == ""
    assert reader.damage.undecodable_packets
    reader.warn()
    assert "packets could not be decoded" in caplog.text


class Endless:
    """Packets of the sound without any of the picture."""

    def __init__(self, container, feed):
        self.container, self.feed = container, feed
        self.streams, self.format = container.streams, container.format

    def demux(self):
        sound = [packet for packet in self.container.demux() if packet.stream.type == "audio" and packet.size]
        for packet in sound:
            self.feed.now += 1.0
            yield packet

    def close(self):
        self.container.close()


def test_a_picture_that_stops_while_sound_goes_on_ends_the_run_with_a_clear_word(make_video):
    feed = Keeper()
    feed.now = 0.0
    feed.clock = lambda: feed.now
    container = av.open(str(make_video("clip.mkv")))
    reader = StreamReader(SOURCE, container, feed, SharedOrigin(), 5.0)
    reader.container = Endless(container, feed)
    reader.run()
    assert feed.frames == [] and "no picture could be decoded for 5 s although data came" in feed.ending


def test_stop_ends_the_thread(make_video):
    feed = Keeper()
    reader = StreamReader(SOURCE, av.open(str(make_video("clip.mp4"))), feed, SharedOrigin(), 5.0)
    reader.stop()
    reader.start()
    reader.join(5.0)
    assert not reader.is_alive() and feed.frames == [] and feed.ending == ""


def test_the_first_stamp_of_any_source_is_the_origin():
    origin = SharedOrigin()
    assert [origin.since(time) for time in (1e9, 1e9 + 2.5, 1e9 - 1.0)] == [0.0, 2.5, -1.0]

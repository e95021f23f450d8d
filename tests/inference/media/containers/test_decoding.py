"""Videos are opened, other files are refused, and packets that cannot be decoded are counted."""

import itertools
import os
import socket

import av
import pytest
from av.stream import Disposition

from auss.inference.media.containers import decoding
from auss.inference.media.containers.decoding import (
    Damage,
    DamagedVideoError,
    decoded_frames,
    is_url,
    open_media,
    packets,
    picture_stream,
    sound_stream,
)
from auss.inference.media.video_probe import probe


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="video: no such file: .*nowhere.mp4"):
        open_media(tmp_path / "nowhere.mp4")
    with pytest.raises(FileNotFoundError, match="no such file"):
        open_media("s3://bucket/clip.mp4")


def test_what_is_no_file(tmp_path):
    with pytest.raises(IsADirectoryError, match=r"video must be a file or an http\(s\) URL, got the directory"):
        open_media(tmp_path)
    empty, pipe = tmp_path / "empty.mp4", tmp_path / "pipe.mp4"
    empty.touch()
    with pytest.raises(ValueError, match="empty.mp4 is empty: it has 0 bytes"):
        open_media(empty)
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match="is no regular file"):
        open_media(pipe)


def test_error_that_is_no_fault_of_the_content(make_video, monkeypatch):
    path = make_video("clip.mp4")

    def refuse(name, **_):
        raise av.error.PermissionError(13, "Permission denied", name)

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(ValueError, match=r"clip.mp4 cannot be opened: Permission denied$"):
        open_media(path)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.webm", "clip.mkv"])
def test_url(make_video, serve, name):
    path = make_video(name, seconds=2.0)
    url = serve(path.parent) + f"/{name}"
    assert is_url(url) and not is_url(path) and not is_url(str(path))
    damage = Damage()
    with open_media(path) as local, open_media(url) as remote:
        expected = [frame.pts for frame in decoded_frames(local, picture_stream(local), damage)]
        assert [frame.pts for frame in decoded_frames(remote, picture_stream(remote), damage)] == expected
    assert len(expected) == 20 and damage == Damage()


def test_url_that_fails(tmp_path, serve, monkeypatch):
    (tmp_path / "text.mp4").write_text("not a video")
    server = serve(tmp_path)
    with pytest.raises(
        ValueError, match=f"video {server}/nowhere.mp4 cannot be opened: Server returned 404 Not Found"
    ):
        open_media(f"{server}/nowhere.mp4")
    with pytest.raises(ValueError, match="text.mp4 cannot be opened .*it is no media file"):
        open_media(f"{server}/text.mp4")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match="clip.mp4 cannot be opened: Connection refused"):
            open_media(f"http://127.0.0.1:{port}/clip.mp4")
        taken.listen(1)
        monkeypatch.setattr(decoding, "URL_TIMEOUT_SECONDS", 0.3)
        with pytest.raises(ValueError, match="clip.mp4 cannot be opened: nothing came for 0.3 s"):
            open_media(f"http://127.0.0.1:{port}/clip.mp4")


def test_connection_that_breaks_off(make_video, serve):
    path = make_video("clip.mkv", seconds=8.0, size=(96, 128))
    url = serve(path.parent, sent=path.stat().st_size // 2) + "/clip.mkv"
    damage = Damage()
    with open_media(url) as container:
        frames = list(decoded_frames(container, picture_stream(container), damage))
    assert 10 < len(frames) < 75
    assert "reading broke off" in damage.describe()[0]


def test_not_a_video(tmp_path, make_video):
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    with pytest.raises(ValueError, match="cannot be opened.*A complete mp4, webm or mkv file is needed"):
        open_media(text)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(make_video("whole.mp4").read_bytes()[:-300])  # the index is at the end
    with pytest.raises(ValueError, match="its index is missing because it was cut off"):
        open_media(cut)


def test_streams(make_video):
    with open_media(make_video("both.mkv")) as container:
        assert picture_stream(container).type == "video" and sound_stream(container).type == "audio"
    with open_media(make_video("mute.mkv", sound=False)) as container:
        assert sound_stream(container) is None
    with (
        open_media(make_video("sound.mp4", picture=False)) as container,
        pytest.raises(ValueError, match="holds only sound: a file with a moving picture is needed"),
    ):
        picture_stream(container)


def test_a_sound_stream_by_its_index(make_tracks, media):
    tone = media.tone(1.0, 16_000)
    with open_media(make_tracks("two.mkv", [tone, tone])) as container:
        assert sound_stream(container).index == 1 and sound_stream(container, 2).index == 2


def test_whole_file_has_no_damage(make_video):
    damage = Damage()
    with open_media(make_video("whole.webm")) as container:
        assert len(list(decoded_frames(container, picture_stream(container), damage))) == 30
    with open_media(make_video("whole.mp4")) as container:
        assert {packet.stream.type for packet in packets(container, None, damage)} == {"audio", "video"}
    assert damage == Damage() and damage.describe() == []


def test_overwritten_bytes_are_counted(make_video):
    path = make_video("whole.mp4", size=(96, 128))
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    for position in range(start + 4000, start + 20_000, 400):
        content[position : position + 40] = b"\xa7" * 40
    path.write_bytes(content)
    damage = Damage()
    with open_media(path) as container:
        frames = list(decoded_frames(container, picture_stream(container), damage))
    assert damage.undecodable_packets > 0 and 0 < len(frames) < 30
    assert f"{damage.undecodable_packets} packets could not be decoded" in damage.describe()[0]


def test_places_of_damage_are_named():
    damage = Damage(faulty_frames=9, fault_times={103, 104, 105, 110})
    assert damage.describe(100.5) == ["9 frames were decoded with errors (at 2-5 s, 9-10 s)"]
    damage.fault_times = set(range(0, 40, 2))
    assert damage.describe()[0].endswith("14-15 s, and 12 more places)")


def test_error_of_a_damaged_video_carries_what_was_found():
    assert DamagedVideoError("damaged").frames == []
    error = DamagedVideoError("damaged", [1, 2])
    assert error.frames == [1, 2] and str(error) == "damaged" and isinstance(error, ValueError)


def write_pictures(path, sizes, flags):
    """Writes a video with several picture streams, one for each (height, width)."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("mpeg4", rate=10) for _ in sizes]
        for stream, (height, width), flag in zip(streams, sizes, flags, strict=True):
            stream.height, stream.width, stream.pix_fmt, stream.disposition = height, width, "yuv420p", flag
        for _ in range(3):
            for stream, (height, width) in zip(streams, sizes, strict=True):
                container.mux(stream.encode(av.VideoFrame(width, height, "yuv420p")))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


def test_of_several_pictures_the_one_that_a_player_chooses(tmp_path):
    plain, default = Disposition(0), Disposition.default
    sizes = [(16, 32), (48, 64)]
    for flags, height in (((plain, default), 48), ((default, plain), 16)):
        path = write_pictures(tmp_path / "two.mkv", sizes, flags)
        with open_media(path) as container:
            assert picture_stream(container).height == height
        number = 1 + (height == 48)
        assert probe(path).warnings == (f"it has 2 moving pictures (32 x 16; 64 x 48): number {number} is taken",)


def checksum(data):
    """The CRC-32 of MPEG-2, as bytes."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return value.to_bytes(4, "big")


def as_one_broadcast(paths, programmes):
    """Joins transport streams by taking their packets in turn. Each stream becomes a programme (number, PID of its
    table), and one table lists all programmes."""
    rows = b"".join(bytes([0, number, 0xE0 | pid >> 8, pid & 255]) for number, pid in programmes)
    table = bytes([0, 0xB0, 5 + len(rows) + 4, 0, 1, 0xC1, 0, 0]) + rows
    table = b"\x47\x40\x00\x10\x00" + table + checksum(table)
    streams = [path.read_bytes() for path in paths]
    packets = [[stream[place : place + 188] for place in range(0, len(stream), 188)] for stream in streams]
    ordered = [packet for group in itertools.zip_longest(*packets, fillvalue=b"") for packet in group]
    others = [packet for packet in ordered if packet and (packet[1] & 0x1F) << 8 | packet[2] != 0]
    return table.ljust(188, b"\xff") + b"".join(others)


def test_sound_belongs_to_the_programme_of_the_picture(make_video, tmp_path):
    # The second programme has a smaller picture, and sound of more data: alone it would be chosen.
    settings = [
        (1, 0x100, 0x200, {"size": (96, 128), "rate": 16_000}),
        (2, 0x110, 0x210, {"size": (32, 32), "rate": 48_000, "channels": 2}),
    ]
    paths = []
    for number, start, table, options in settings:
        pids = {"mpegts_start_pid": start, "mpegts_pmt_start_pid": table, "mpegts_service_id": number}
        name = f"{number}.ts"
        muxer = {key: str(value) for key, value in pids.items()}
        paths.append(make_video(name, codecs=("libx264", "mp2"), options=muxer, **options))
    path = tmp_path / "both.ts"
    path.write_bytes(as_one_broadcast(paths, [(number, table) for number, _, table, _ in settings]))
    with open_media(path) as container:
        assert len(container.streams) == 4
        picture, sound = picture_stream(container), sound_stream(container)
        pair = (picture.height, sound.sample_rate)
        assert pair == (96, 16_000) and container.streams.best("audio").sample_rate == 48_000

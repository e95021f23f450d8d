"""Opening what is a video and refusing what is not, and counting what cannot be decoded."""

import pytest

from auss.inference.decoding import Damage, decoded_frames, open_media, packets, picture_stream, sound_stream


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="video: no such file: .*nowhere.mp4"):
        open_media(tmp_path / "nowhere.mp4")
    with pytest.raises(FileNotFoundError, match="no such file"):
        open_media(tmp_path)


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

"""Matroska files are checked that are whole, cut off, or changed at any place."""

import av
import pytest

from auss.inference.media.containers.matroska import matroska_problems
from auss.inference.media.video_reader import DamagedVideoError, VideoReader

CODECS = {"a.mkv": ("libx264", "pcm_s16le"), "a.webm": ("libvpx", "libopus")}


@pytest.fixture(params=CODECS)
def video(make_video, request):
    return make_video(request.param, seconds=0.5, codecs=CODECS[request.param])


def test_a_whole_file_has_no_problem(video, make_video):
    assert matroska_problems(video) == []
    assert matroska_problems(make_video("other.mp4", seconds=0.3)) == []
    VideoReader(video).check()


def test_every_flipped_byte_of_a_cluster_with_a_checksum_is_found(make_video):
    """Clusters of WebM files have no checksum, so only Matroska is tested."""
    video = make_video("a.mkv", seconds=0.5)
    content = video.read_bytes()
    first = content.index(bytes.fromhex("1f43b675"))
    last = content.index(bytes.fromhex("1c53bb6b"), first)  # the index that follows
    for place in range(first + 20, last, 37):
        video.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        assert matroska_problems(video) != [], place


def test_a_block_that_is_longer_than_its_cluster_is_found(make_video):
    video = make_video("a.webm", seconds=0.5)
    content = bytearray(video.read_bytes())
    block = content.index(b"\xa3", content.index(bytes.fromhex("1f43b675")))
    content[block + 1] = 0x10 | content[block + 1] & 0x0F  # its size has two bytes more
    video.write_bytes(content)
    assert len(matroska_problems(video)) == 1 and "not whole" in matroska_problems(video)[0]


def test_a_file_that_is_cut_off_anywhere_is_found(video):
    content = video.read_bytes()
    for length in range(5, len(content), 211):
        video.write_bytes(content[:length])
        assert matroska_problems(video) != [], length


def test_many_problems_are_not_all_named(make_video):
    video = make_video("long.mkv", seconds=12.0, options={"cluster_time_limit": "500"})
    content = bytearray(video.read_bytes())
    place = 0
    while (place := content.find(bytes.fromhex("1f43b675"), place + 1)) > 0:
        content[place + 40] ^= 1
    video.write_bytes(content)
    problems = matroska_problems(video)
    assert len(problems) == 3 and problems[2].endswith("more parts")


@pytest.mark.parametrize("options", [{"live": "1"}, {"write_crc32": "0"}])
def test_files_without_sizes_or_checksums_are_whole(make_video, options):
    """Live streams have no sizes, and some programs write no checksums."""
    video = make_video("live.mkv", seconds=2.0, options={**options, "cluster_time_limit": "500"})
    assert matroska_problems(video) == []
    video.write_bytes(video.read_bytes() * 2)  # two recordings, one after the other
    assert matroska_problems(video) == []


def test_the_reader_tells_of_it(make_video):
    video = make_video("a.mkv", seconds=0.5, codecs=("libvpx", "libopus"))
    content = bytearray(video.read_bytes())
    content[len(content) * 2 // 3] ^= 0xFF
    video.write_bytes(content)
    reader = VideoReader(video)
    list(reader.frames())
    with pytest.raises(DamagedVideoError, match="does not match its checksum"):
        reader.check()
    with av.open(str(video)) as container:  # the decoder itself says nothing
        assert not any(frame.is_corrupt for frame in container.decode(video=0))

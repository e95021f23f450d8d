"""The kinds of file that auss can write a video to, and the codecs of each kind."""

from dataclasses import dataclass, field
from pathlib import Path

from ....files.errors import InputError


@dataclass(frozen=True)
class ContainerFormat:
    """How one kind of file is written."""

    muxer: str  # FFmpeg's name for the format
    video_codec: str
    video_options: dict[str, str]
    copied_sound: frozenset[str]  # codecs whose packets are copied: the container and common players take them
    audio_codec: str  # the codec that all other sound is encoded with
    muxer_options: dict[str, str] = field(default_factory=dict)


# "bf": "0" switches reordered frames off. The file then stores every time stamp unchanged, also the last one.
H264_OPTIONS = {"preset": "veryfast", "crf": "20", "bf": "0"}
VP9_OPTIONS = {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "crf": "30", "b": "0"}
CONTAINER_FORMATS = {
    ".mp4": ContainerFormat(
        "mp4",
        "libx264",
        H264_OPTIONS,
        frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"}),
        "aac",
        # The index is written in front, so that the file plays while it is still being downloaded.
        {"movflags": "+faststart"},
    ),
    ".mkv": ContainerFormat(
        "matroska",
        "libx264",
        H264_OPTIONS,
        frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac", "vorbis", "pcm_s16le", "pcm_s24le", "dts"}),
        "aac",
    ),
    ".webm": ContainerFormat("webm", "libvpx-vp9", VP9_OPTIONS, frozenset({"opus", "vorbis"}), "libopus"),
}


def container_format(path: Path) -> ContainerFormat:
    """Returns the format for a file's ending. An unknown ending raises a ValueError that names the known ones."""
    try:
        return CONTAINER_FORMATS[path.suffix.lower()]
    except KeyError:
        raise InputError(f"output must end in {', '.join(CONTAINER_FORMATS)}, got {str(path)!r}") from None


__all__ = ["CONTAINER_FORMATS", "ContainerFormat", "container_format"]

"""The kinds of file that videos are written to, and which codecs each of them takes."""

from dataclasses import dataclass, field
from pathlib import Path

from ....files.errors import InputError


@dataclass(frozen=True)
class ContainerFormat:
    """What is written into a kind of file."""

    muxer: str  # FFmpeg's name for it
    video_codec: str
    video_options: dict[str, str]
    copied_sound: frozenset[str]  # codecs whose packets the container takes, and common players play, as they are
    audio_codec: str  # for all other sound
    muxer_options: dict[str, str] = field(default_factory=dict)


# Without reordered frames (bf) the time stamps, the last frame's included, are stored as they are given.
H264_OPTIONS = {"preset": "veryfast", "crf": "20", "bf": "0"}
VP9_OPTIONS = {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "crf": "30", "b": "0"}
CONTAINER_FORMATS = {
    ".mp4": ContainerFormat(
        "mp4",
        "libx264",
        H264_OPTIONS,
        frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"}),
        "aac",
        # The index in front: the file plays while it is still being downloaded.
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
    """The format that a file's ending asks for; ValueError names the endings that are known."""
    try:
        return CONTAINER_FORMATS[path.suffix.lower()]
    except KeyError:
        raise InputError(f"output must end in {', '.join(CONTAINER_FORMATS)}, got {str(path)!r}") from None


__all__ = ["CONTAINER_FORMATS", "ContainerFormat", "container_format"]

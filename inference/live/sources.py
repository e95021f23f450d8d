"""What `auss live` reads from: a camera, a screen or a network stream, named by a word, a device or a URL."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import av
from av.container import InputContainer
from av.error import ExitError, FFmpegError

from ...files.errors import InputError
from ...files.file_names import printable
from ..media.containers.decoding import MEDIA_FORMATS, is_url, open_media
from .rtsp_relay import RtspRelay

# The protocols that FFmpeg may use for a source with this scheme. Data in the stream cannot make it use another one.
PROTOCOLS = {"udp": "udp", "rtp": "rtp,udp", "tcp": "tcp", "rtsp": "rtp,tcp"}
# "rtp" and "rtsp" are FFmpeg's readers for these schemes. They read what the address itself sends, and no files.
STREAM_FORMATS = MEDIA_FORMATS + ",rtp,rtsp"
# FFmpeg looks at the beginning of a stream to find its parts. The picture and the sound must begin within this time.
ANALYSIS_SECONDS = 2.0
DEVICES = ("v4l2", "x11grab", "avfoundation")
SOUND_DEVICES = ("alsa", "pulse", "avfoundation")
ACCEPTED = (
    "'camera', 'screen', a device (/dev/video0, v4l2:DEVICE, x11grab:DISPLAY, avfoundation:PICTURE:SOUND), or the URL "
    "of a stream (udp://, rtp://, rtsp://, tcp://, http://, https://)"
)


@dataclass(frozen=True)
class LiveSource:
    """Where a live picture or sound comes from."""

    name: str  # as the user gave it
    address: str  # for FFmpeg
    device: str | None = None  # FFmpeg's name of the kind of device; None for a URL
    options: dict[str, str] = field(default_factory=dict)

    @property
    def scheme(self) -> str:
        """The scheme of a URL in small letters; "" for a device."""
        return "" if self.device else urlsplit(self.address).scheme.lower()


def device_source(name: str, device: str, address: str, options: dict[str, str]) -> LiveSource:
    """The source of a device. Raises ValueError if PyAV was built without this kind of device."""
    if device not in {part for known in av.formats_available for part in known.split(",")}:
        raise InputError(f"SOURCE {name}: this installation of PyAV has no {device} (here: {sys.platform})")
    if not address:
        raise InputError(f"SOURCE {name} names no device")
    if device == "v4l2":
        # The stamps of ALSA and of screens are those of the wall clock. A camera shall have the same clock.
        options = {"timestamps": "abs"} | options
    return LiveSource(name, address, device, options)


def parse_source(name: str, size: str | None = None, rate: float | None = None) -> LiveSource:
    """
    Finds out what a SOURCE means. Nothing is opened.

    Args:
        name: a word, a device or a URL, see `ACCEPTED`.
        size: WIDTHxHEIGHT to ask a device for; None for its own choice.
        rate: frames a second to ask a device for; None for its own choice.

    Raises:
        ValueError: it is none of these; it is a file; or PyAV has no such devices on this system.
    """
    options = {"video_size": size} if size else {}
    if rate:
        options["framerate"] = f"{rate:g}"
    mac = sys.platform == "darwin"
    if name == "camera":
        return device_source(name, *(("avfoundation", "0:0") if mac else ("v4l2", "/dev/video0")), options)
    if name == "screen":
        display = os.environ.get("DISPLAY", "")
        if not mac and not display:
            raise InputError("SOURCE screen: the variable DISPLAY is not set, so there is no X screen to read")
        return device_source(name, *(("avfoundation", "Capture screen 0:0") if mac else ("x11grab", display)), options)
    kind, _, address = name.partition(":")
    if kind in DEVICES:
        return device_source(name, kind, address, options)
    if name.startswith("/dev/video"):
        return device_source(name, "v4l2", name, options)
    if is_url(name) or kind.lower() in PROTOCOLS and address.startswith("//"):
        if size or rate:
            raise InputError("--frame-size and --frame-rate are for cameras and screens: a stream has its own")
        return LiveSource(name, name)
    if name and Path(name).exists():
        raise InputError(f"SOURCE {printable(name)} is a file, and no live source: use `auss segment` for it")
    raise InputError(f"SOURCE must be {ACCEPTED}, got {printable(name)!r}")


def parse_sound(name: str) -> LiveSource:
    """
    Finds out what the value of --sound means: KIND:DEVICE, such as alsa:default or pulse:default.

    Raises:
        ValueError: the kind is unknown, or PyAV has no such devices on this system.
    """
    kind, _, address = name.partition(":")
    if kind not in SOUND_DEVICES:
        raise InputError(f"--sound must be KIND:DEVICE with a kind of {', '.join(SOUND_DEVICES)}, got {name!r}")
    return device_source(name, kind, address, {})


def cause(error: FFmpegError, timeout: float) -> str:
    """FFmpeg's message for an error. A timeout gets a message of its own, because FFmpeg's does not name it."""
    return f"nothing came for {timeout:g} s" if isinstance(error, ExitError) else str(error.strerror)


def open_rtsp(source: LiveSource, options: dict[str, str], waits: tuple[float, float]) -> InputContainer:
    """Opens an RTSP stream through a relay, with picture and sound in the same connection.

    Raises:
        ValueError: the server redirects to another address.
    """
    relay = RtspRelay(source.address)
    options = {**options, "rtsp_transport": "tcp"}
    try:
        return av.open(relay.url, options=options, metadata_errors="ignore", timeout=waits)
    except FFmpegError as error:
        if relay.refused:
            raise InputError(f"SOURCE {printable(source.name)} cannot be opened: {relay.refused}") from error
        raise
    finally:
        relay.close()  # the connection that was made stays


def open_live_source(source: LiveSource, timeout: float) -> InputContainer:
    """
    Opens a source for reading.

    Only the address that the user named is opened. Playlists and other formats that name further addresses are
    refused. An RTSP stream comes through the connection of its URL.

    Args:
        source: from `parse_source` or `parse_sound`.
        timeout: seconds after which a source counts as lost if nothing comes.

    Raises:
        ValueError: the source cannot be opened, nothing comes, or its format is not accepted. The message says which.
    """
    analysis = {"analyzeduration": f"{ANALYSIS_SECONDS * 1e6:.0f}"}
    waits = (timeout + ANALYSIS_SECONDS, timeout)
    try:
        if source.device:
            return av.open(source.address, format=source.device, options=source.options, timeout=waits)
        if is_url(source.address):
            return open_media(source.address, analysis, waits)
        options = {"protocol_whitelist": PROTOCOLS[source.scheme], "format_whitelist": STREAM_FORMATS, **analysis}
        if source.scheme == "udp":
            # Packets that come while the reader is busy wait in FFmpeg's memory. If that is full, some are lost.
            options["overrun_nonfatal"] = "1"
        if source.scheme == "rtsp":
            return open_rtsp(source, options, waits)
        return av.open(source.address, options=options, metadata_errors="ignore", timeout=waits)
    except (FFmpegError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        if not isinstance(error, FFmpegError):
            raise InputError(f"SOURCE {printable(source.name)} cannot be opened: {error}") from error
        hint = ""
        if type(error).__name__ in ("ArgumentError", "InvalidDataError") and not source.device:
            hint = ". It must be a stream of picture and sound itself, such as MPEG-TS; playlists are not followed"
        raise InputError(f"SOURCE {printable(source.name)} cannot be opened: {cause(error, timeout)}{hint}") from error


__all__ = ["ACCEPTED", "LiveSource", "cause", "open_live_source", "parse_sound", "parse_source"]

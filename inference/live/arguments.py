"""The arguments of `auss live`. This module does not import torch or Transformers."""

import argparse
import re

from ...configuration.score_threshold import DEFAULT_THRESHOLD
from ...files.errors import InputError
from ...hub.network_options import add_model_option, add_network_options, check_threads
from ..parameters import check_threshold, is_positive

DEFAULT_TIMEOUT = 10.0  # seconds
DEFAULT_THREADS = 1


def add_live_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `auss live` to the parser."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="'camera', 'screen', /dev/videoN, v4l2:DEVICE, x11grab:DISPLAY, avfoundation:PICTURE:SOUND, or the URL "
        "of a stream: udp://, rtp://, rtsp://, tcp://, http://, https://",
    )
    add_model_option(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="write the marked picture and the sound: a .mp4, .mkv or .webm file, or udp://, tcp://, rtp:// as MPEG-TS"
        ". Without it a window shows the picture",
    )
    parser.add_argument("--show", action="store_true", help="show a window beside --output")
    parser.add_argument(
        "--sound",
        metavar="KIND:DEVICE",
        help="a microphone for a camera or a screen: alsa:default, pulse:default or avfoundation::0",
    )
    parser.add_argument("--frame-size", metavar="WxH", help="ask the camera or the screen for this size")
    parser.add_argument(
        "--frame-rate", type=float, metavar="FPS", help="ask the camera or the screen for so many frames a second"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=DEFAULT_TIMEOUT,
        metavar="SECONDS",
        help=f"end if nothing comes for so long ({DEFAULT_TIMEOUT:g})",
    )
    parser.add_argument("--seconds", type=float, metavar="SECONDS", help="end after so many seconds (never)")
    parser.add_argument(
        "--threshold",
        type=float,
        default=DEFAULT_THRESHOLD,
        metavar="SCORE",
        help=f"the score, 0 to 1, over which a pixel sounds ({DEFAULT_THRESHOLD:g})",
    )
    add_network_options(
        parser,
        DEFAULT_THREADS,
        f"CPU threads of the network; reading and writing have their own ({DEFAULT_THREADS})",
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, ...; auto takes a GPU if there is one (auto)")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT")
    parser.set_defaults(check=check_live_arguments)


def check_live_arguments(arguments: argparse.Namespace) -> None:
    """Raises ValueError for a number or a size out of its range."""
    check_threshold(arguments.threshold)
    for name in ("timeout", "seconds", "frame_rate"):
        value = getattr(arguments, name)
        if value is not None and not is_positive(value):
            raise InputError(f"--{name.replace('_', '-')} must be a positive number, got {value}")
    check_threads(arguments.threads)
    if arguments.frame_size is not None and not re.fullmatch(r"[1-9]\d*x[1-9]\d*", arguments.frame_size):
        raise InputError(f"--frame-size must be WIDTHxHEIGHT, such as 640x480, got {arguments.frame_size!r}")


__all__ = ["add_live_arguments"]

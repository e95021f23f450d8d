"""`auss live`: marks what sounds in a camera, a screen or a network stream while it runs."""

import argparse
import contextlib
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any, cast

from av.container import InputContainer

from ...files.file_names import printable
from ...hub.shipped_model import chosen_model
from ...hub.trained_model import load_model
from ..segment import HeldMask
from .live_feed import LiveFeed, LiveFrame
from .live_output import OutputThread, PreviewWindow, check_live_output
from .live_report import LiveReport
from .live_segmenter import LiveMask, LiveSegmenter
from .sources import LiveSource, open_live_source, parse_sound, parse_source
from .stream_reader import SharedOrigin, StreamReader

logger = logging.getLogger(__name__)

WAIT_SECONDS = 0.2  # how long the loop waits for sound or a frame before it looks at the window and at the time again
WARM_UP_SIZE = (480, 640)  # of a picture; only its shape after the processor matters
STATUS_SECONDS = 1.0
# A thread of Python that has work may run so long before another one gets its turn. Python's default is 0.005 s, and
# the many short operations of the network's thread would each wait so long for the thread that draws.
SWITCH_SECONDS = 0.0005


def open_while_waiting(source: LiveSource, timeout: float) -> InputContainer:
    """Works like `open_live_source`, but Ctrl-C takes effect at once. FFmpeg itself cannot be interrupted by it."""
    found: list[InputContainer] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            found.append(open_live_source(source, timeout))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, name=f"auss-open-{source.name}", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(WAIT_SECONDS)
    if errors:
        raise errors[0]
    return found[0]


@contextlib.contextmanager
def reading(source: LiveSource, sound: LiveSource | None, feed: LiveFeed, timeout: float) -> Iterator[None]:
    """Reads a source, and a microphone if `sound` is given, while the context lasts."""
    origin = SharedOrigin()
    readers = []
    switch_seconds = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        if sound is not None:
            opened = open_while_waiting(sound, timeout)
            readers.append(StreamReader(sound, opened, feed, origin, timeout, only_sound=True))
        opened = open_while_waiting(source, timeout)
        picture = StreamReader(source, opened, feed, origin, timeout, has_sound=bool(readers))
        readers.append(picture)
        if not picture.has_sound:
            logger.warning(
                "%s has no sound, so nothing in it sounds%s",
                printable(source.name),
                ": --sound names a microphone" if source.device else "",
            )
        for reader in readers:
            reader.start()
        yield
    finally:
        sys.setswitchinterval(switch_seconds)
        for reader in readers:
            reader.stop()
        for reader in readers:
            if not reader.is_alive():
                reader.warn()


class Outputs:
    """The window and the output of a run; either may be missing."""

    def __init__(self, window: PreviewWindow | None, writer: OutputThread | None, num_labels: int):
        self.window, self.writer, self._num_labels = window, writer, num_labels
        if writer is not None:
            writer.start()

    @property
    def closed(self) -> bool:
        """Whether the user has closed the window."""
        return self.window is not None and self.window.closed

    def put(self, frame: LiveFrame, mask: LiveMask) -> None:
        """Draws, shows and writes a frame."""
        if self.writer is not None:
            self.writer.check()
            self.writer.put_frame(frame, mask)
        if self.window is not None:
            self.window.show(cast(Any, HeldMask(cast(Any, mask), self._num_labels).draw(frame.frame.picture)))

    def close(self) -> None:
        """Finishes the output and closes the window."""
        if self.window is not None:
            self.window.destroy()
        if self.writer is not None:
            self.writer.close()


def follow(
    feed: LiveFeed,
    segmenter: LiveSegmenter,
    outputs: Outputs,
    report: LiveReport,
    seconds: float | None = None,
    status: bool = False,
) -> None:
    """
    Makes masks until the feed is exhausted, the window is closed, or `seconds` have passed since the first frame.

    Args:
        feed: where sound and frames come from.
        segmenter: makes the masks.
        outputs: get the frames with their masks, and the sound.
        report: counts.
        seconds: None for no end.
        status: whether a line on stderr shows the figures while they change.
    """
    first: float | None = None
    next_status = feed.clock()
    while not feed.exhausted and not outputs.closed:
        sound, frame = feed.take(WAIT_SECONDS)
        for piece in sound:
            segmenter.push_audio(piece.mono, piece.sampling_rate, piece.time)
            if outputs.writer is not None:
                outputs.writer.put_sound(piece)
        if frame is None:
            continue
        first = frame.arrived if first is None else first
        mask = segmenter.push_frame(frame.frame.picture, frame.frame.time)
        report.note(feed.clock() - frame.arrived, mask.time, mask.sound_end)
        outputs.put(frame, mask)
        if seconds is not None and feed.clock() - first >= seconds:
            return
        if status and feed.clock() >= next_status:
            next_status = feed.clock() + STATUS_SECONDS
            print(f"\r{report.summary(feed.received, feed.dropped)} ", end="", file=sys.stderr, flush=True)


def say_what_was_done(arguments: argparse.Namespace, feed: LiveFeed, report: LiveReport, outputs: Outputs) -> None:
    """Prints the figures of a run, and warns of frames without sound."""
    print(f"{printable(arguments.source)}: {report.summary(feed.received, feed.dropped)}")
    if outputs.writer is not None and outputs.writer.written:
        print(f"{printable(arguments.output)}: {outputs.writer.written} frames")
    elif outputs.writer is not None:
        logger.warning("no frame came, so %s was not written", printable(arguments.output))
    if report.without_sound:
        logger.warning("%d frames had no sound in their last second: nothing sounds in them", report.without_sound)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command. Ctrl-C and closing the window are regular ends. Returns 1 if the source broke off."""
    source = parse_source(arguments.source, arguments.frame_size, arguments.frame_rate)
    sound = parse_sound(arguments.sound) if arguments.sound is not None else None
    if arguments.output is not None:
        check_live_output(arguments.output, arguments.overwrite)
    shows = arguments.show or arguments.output is None
    window = PreviewWindow(f"auss live {printable(source.name)}") if shows else None
    source_of_model = chosen_model(arguments.model)
    model, processor = load_model(source_of_model, arguments.device, arguments.threads, arguments.trust_remote_code)
    segmenter = LiveSegmenter(model, processor, arguments.threshold)
    segmenter.warm_up(WARM_UP_SIZE)
    feed, report, num_labels = LiveFeed(), LiveReport(), model.config.num_labels
    with reading(source, sound, feed, arguments.timeout):
        writer = OutputThread(arguments.output, num_labels, arguments.overwrite) if arguments.output else None
        outputs = Outputs(window, writer, num_labels)
        try:
            follow(feed, segmenter, outputs, report, arguments.seconds, status=sys.stderr.isatty())
        except KeyboardInterrupt:
            pass  # the usual end of a live run
        finally:
            outputs.close()
    if sys.stderr.isatty():
        print(file=sys.stderr)
    say_what_was_done(arguments, feed, report, outputs)
    if feed.ending:
        print(f"auss live: {printable(source.name)}: {printable(feed.ending)}", file=sys.stderr)
        return 1
    return 0


__all__ = ["follow", "reading", "run"]

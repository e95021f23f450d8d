"""Sends a stream at real pace, with PyAV, from a thread or a process: packets that were encoded before."""

import time
from fractions import Fraction

import av
import numpy as np

MICROSECOND = Fraction(1, 1_000_000)


def encoded_packets(pictures, fps, waveform, rate, keyframes=25):
    """Encodes pictures (F, H, W, 3) as H.264 without delay, and sound (samples,) as MP2. Returns two lists of
    (seconds, duration, bytes, whether it is a keyframe), of packets that can be sent again and again."""
    video = av.CodecContext.create("libx264", "w")
    video.height, video.width, video.pix_fmt = *pictures[0].shape[:2], "yuv420p"
    video.time_base, video.framerate = MICROSECOND, Fraction(fps)
    video.options = {
        "preset": "veryfast",
        "tune": "zerolatency",
        "crf": "20",
        "g": str(keyframes),
        "repeat-headers": "1",
    }
    picture_packets = []
    for index, picture in enumerate([*pictures, None]):
        frame = None
        if picture is not None:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(index * 1e6 / fps), MICROSECOND
        for packet in video.encode(frame):
            picture_packets.append((float(packet.pts * packet.time_base), 1 / fps, bytes(packet), packet.is_keyframe))
    sound_packets = []
    if waveform is not None:
        audio = av.CodecContext.create("mp2", "w")
        audio.sample_rate, audio.layout, audio.format = rate, "mono", "s16"
        count = 1152
        for start in range(0, len(waveform) // count * count, count):
            samples = (waveform[None, start : start + count] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            for packet in audio.encode(frame):
                sound_packets.append((start / rate, count / rate, bytes(packet), True))
    return picture_packets, sound_packets


def send(
    target,
    size,
    fps,
    picture_packets,
    sound_packets,
    rate,
    seconds,
    format="mpegts",
    started=None,
    stop=None,
    pauses=(),
    pace=1.0,
):
    """
    Sends packets to a URL at real pace, and begins anew after the last one, for some seconds.

    Args:
        target: a udp or tcp URL.
        size: (height, width) of the pictures.
        seconds: for how long.
        started: called with the time of `time.monotonic` at which the first packet is sent.
        stop: an event that ends the sending.
        pauses: (from, to) in seconds of the stream: nothing is sent in between, and the stream goes on after it.
        pace: seconds of the stream that are sent in a second.
    """
    with av.open(target, "w", format=format, options={"flush_packets": "1"}) as container:
        video = container.add_stream("libx264", rate=fps)
        video.height, video.width, video.pix_fmt = *size, "yuv420p"
        streams = [(video, picture_packets)]
        if sound_packets:
            streams.append((container.add_stream("mp2", rate=rate, layout="mono"), sound_packets))
        container.start_encoding()
        length = sum(packet[1] for packet in picture_packets)
        events = sorted(
            (start, number, duration, data, is_key)
            for number, (_, packets) in enumerate(streams)
            for start, duration, data, is_key in packets
            if start < length
        )
        begin = time.monotonic()
        if started is not None:
            started(begin)
        round_start = 0.0
        while round_start < seconds and not (stop is not None and stop.is_set()):
            for start, number, duration, data, is_key in events:
                at = round_start + start
                if at >= seconds or (stop is not None and stop.is_set()):
                    break
                if any(first <= at < last for first, last in pauses):
                    continue
                time.sleep(max(0.0, begin + at / pace - time.monotonic()))
                packet = av.Packet(data)
                packet.stream, packet.time_base = streams[number][0], MICROSECOND
                packet.pts = packet.dts = round(at * 1e6)
                packet.duration = round(duration * 1e6)
                packet.is_keyframe = is_key
                container.mux_one(packet)
            round_start += length

"""Compares the processing of sound, metrics and whole videos with plain code for the same results."""

import contextlib
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.video.frame import PictureType
from network_rows import network
from timing import Measured, in_turns, seconds

from auss import AussFeatureExtractor, AussProcessor, AussVideoProcessor, cli
from auss.inference.media.video_reader import VideoReader
from auss.inference.media.video_writer import VideoWriter
from auss.train.evaluation.metrics import f_score

RATE = 44_100


def log_mel() -> Measured:
    """Compares log-mel of five seconds of 44.1 kHz stereo with torchvggish and its resampler."""
    from torchvggish.vggish_input import waveform_to_examples

    sound = np.random.default_rng(0).normal(0, 0.1, (2, 5 * RATE)).astype(np.float32)
    extractor = AussFeatureExtractor()
    plain = waveform_to_examples(sound.T.astype(np.float64), RATE, return_tensor=False)
    shape = extractor(sound, sampling_rate=RATE, return_tensors="pt")["input_features"].shape
    ours, limit = in_turns(
        lambda: extractor(sound, sampling_rate=RATE, return_tensors="pt"),
        lambda: waveform_to_examples(sound.T.astype(np.float64), RATE),
        repeats=9,
    )
    return Measured(ours, limit, f"{shape[1]} examples; the plain way gives {len(plain)}")


def plain_f_score(scores: torch.Tensor, labels: torch.Tensor) -> float:
    """Computes M_F of one clip in a loop over the thresholds, as the protocol describes it."""
    totals = torch.zeros(255, dtype=torch.float64)
    frames = 0
    for score, mask in zip(scores, labels, strict=True):
        if not mask.any():
            continue
        frames += 1
        for index, threshold in enumerate(torch.linspace(0, 1 - 1e-10, 255)):
            predicted = (score >= threshold).double()
            true_positive = (predicted * mask).sum()
            precision = true_positive / (predicted.sum() + 1e-20)
            recall = true_positive / (mask.sum() + 1e-20)
            value = 1.3 * precision * recall / (0.3 * precision + recall)
            totals[index] += torch.nan_to_num(value)
    return float((totals / frames).max())


def clip_f_score() -> Measured:
    """Compares M_F of a clip of five frames of 224 x 224 with a loop over the thresholds."""
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(5, 224, 224, generator=generator) > 0.8).double()
    scores = (torch.rand(5, 224, 224, generator=generator) * 0.6 + 0.4 * labels).float()
    difference = abs(f_score(scores, labels) - plain_f_score(scores, labels))
    if difference > 1e-6:
        raise AssertionError(f"f_score is off by {difference}")
    ours, limit = in_turns(lambda: f_score(scores, labels), lambda: plain_f_score(scores, labels))
    return Measured(ours, limit, f"the results differ by {difference:.0e}")


def write_video(path: Path, length: int, height: int = 720, width: int = 1280, fps: int = 25) -> None:
    """Writes a video of `length` seconds: discs move over a textured background, with a tone and noise as sound."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 255, (height // 16, width // 16, 3), dtype=np.uint8)
    background = coarse.repeat(16, 0).repeat(16, 1)
    rows, columns = np.mgrid[:height, :width]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps, options={"preset": "veryfast", "crf": "20"})
        sound = container.add_stream("aac", rate=RATE, layout="mono")
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        for index in range(length * fps):
            picture = background.copy()
            for disc, colour in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255))):
                x = (index * (3 + disc) + 400 * disc) % width
                y = height * (disc + 1) // 4
                picture[(rows - y) ** 2 + (columns - x) ** 2 < 80**2] = colour
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        times = np.arange(length * RATE) / RATE
        samples = 0.2 * np.sin(2 * np.pi * 440 * times) + generator.normal(0, 0.02, len(times))
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), 0
        container.mux(sound.encode(frame))
        for stream in (video, sound):
            container.mux(stream.encode(None))


def decoded(path: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        yield from container.decode(stream)


def plain_pass(path: Path, output: Path, backbone: torch.nn.Module) -> None:
    """Decodes and encodes every frame. One frame a second goes through the backbone, in groups of eight."""
    shown: list[torch.Tensor] = []

    def show() -> None:
        if shown:
            backbone(torch.stack(shown))
            shown.clear()

    with av.open(str(output), "w") as container, torch.inference_mode():
        stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "20", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25)
        for index, frame in enumerate(decoded(path)):
            if index % 25 == 0:
                small = frame.reformat(224, 224, format="rgb24").to_ndarray()
                shown.append(torch.from_numpy(small).permute(2, 0, 1).float() / 255)
                if len(shown) == 8:
                    show()
            frame.pts, frame.time_base = index, Fraction(1, 25)
            frame.pict_type = PictureType.NONE  # let the encoder choose the type again
            container.mux(stream.encode(frame))
        show()
        container.mux(stream.encode(None))


def plain_copy(video: Path, output: Path) -> None:
    """Decodes and encodes every frame with the reader and the writer of auss, without a network and without drawing.
    All is done in one thread, besides the threads of the decoder and the encoder."""
    reader = VideoReader(video)
    with VideoWriter(output, reader.info, overwrite=True) as writer:
        for frame in reader.frames():
            writer.write(frame.time, frame.planar_copy() or frame.picture)
        writer.hold(reader.picture_end or 0.0)


def save_random_model(preset: str, folder: Path) -> torch.nn.Module:
    """Saves a model that finds something, and its processor. Returns its backbone."""
    model = network(preset)
    with torch.no_grad():  # without this bias, random weights find no objects
        model.class_head.bias[1] += 3
    model.save_pretrained(folder)
    AussProcessor(feature_extractor=AussFeatureExtractor(), video_processor=AussVideoProcessor()).save_pretrained(
        folder
    )
    return model.auss.image_embedding_extractor.backbone


def seconds_and_cpu(work: Callable[[], object]) -> tuple[float, float]:
    """Returns the wall time and the CPU time of one call in seconds."""
    before = time.process_time()
    return seconds(work), time.process_time() - before


def segmented_video(
    preset: str, length: int = 60, masks_per_second: int = 1, with_backbone: bool = True, repeats: int = 5
) -> Measured:
    """Compares `auss segment` of a 720p video with only decoding and encoding it.

    Args:
        preset: the network.
        length: seconds of video.
        masks_per_second: as the option `--fps`.
        with_backbone: whether the comparison also runs the backbone, on one frame a second, and uses plain PyAV.
            Otherwise it is `plain_copy`.
        repeats: runs of each side.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video, marked, plain = folder / "video.mp4", folder / "marked.mp4", folder / "plain.mp4"
        write_video(video, length)
        backbone = save_random_model(preset, folder / "model")
        command = ["segment", str(video), "-o", str(marked), "--model", str(folder / "model"), "--overwrite"]

        def ours() -> None:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                status = cli.main([*command, "--fps", str(masks_per_second)])
            if status:
                raise AssertionError(f"auss segment ended with {status}")

        def limit() -> None:
            if with_backbone:
                plain_pass(video, plain, backbone)
            else:
                plain_copy(video, plain)

        runs = [(*seconds_and_cpu(ours), *seconds_and_cpu(limit)) for _ in range(repeats)]
        frames = [sum(1 for _ in decoded(one)) for one in (marked, plain)]
    if len(set(frames)) != 1:
        print(f"frames written: {frames}", file=sys.stderr)
    wall, cpu, plain_wall, plain_cpu = (statistics.median(column) for column in zip(*runs, strict=True))
    note = f"{length} s, {frames[0]} frames; auss also loads the model; CPU time {cpu:.1f} s against {plain_cpu:.1f} s"
    return Measured(wall, plain_wall, note=note)

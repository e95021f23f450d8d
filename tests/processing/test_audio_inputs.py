"""Tests of the sound objects of `datasets` and torchcodec. Stand-ins with the same attributes replace torchcodec."""

import io
import os
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from auss.inference.array_clip import ArrayClip
from auss.inference.pipeline import open_clip
from auss.processing.audio_inputs import decoded_audio, decoded_sound, read_sound
from auss.processing.feature_extraction_auss import AussFeatureExtractor
from auss.processing.processing_auss import AussProcessor
from auss.processing.video_processing_auss import AussVideoProcessor
from auss.train.data.clips import decode_audio

RATE = 22_050
WAVE = np.sin(np.arange(2 * RATE) / 9).astype(np.float32) * 0.5
FRAMES = np.zeros((2, 8, 8, 3), np.uint8)


class Decoder:
    """A stand-in for `torchcodec.decoders.AudioDecoder`."""

    def __init__(self, data: torch.Tensor, rate: int = RATE):
        self.samples = SimpleNamespace(data=data, sample_rate=rate, pts_seconds=0.0)

    def get_all_samples(self):
        return self.samples


class DatasetsDecoder(Decoder):
    """A stand-in for the subclass of `AudioDecoder` in `datasets` 4 and later."""

    def __getitem__(self, key):
        if key == "array":
            return self.samples.data.numpy().mean(axis=0)
        if key == "sampling_rate":
            return self.samples.sample_rate
        raise TypeError("not subscriptable")


class Keyed:
    """An object that is not a mapping, but has the keys "array" and "sampling_rate"."""

    def __getitem__(self, key):
        return {"array": WAVE, "sampling_rate": RATE}[key]


class Column(Sequence):
    """A stand-in for a column of a data set. A column is a sequence, but not a list."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        return self.values[index]


def wav_bytes(samples=WAVE, rate=RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, "FLOAT", format="WAV")
    return file.getvalue()


STEREO = torch.from_numpy(np.stack([WAVE, WAVE]))
KINDS = {
    "decoder": Decoder(torch.from_numpy(WAVE)[None]),
    "stereo decoder": DatasetsDecoder(STEREO),
    "samples": Decoder(STEREO).samples,
    "keyed": Keyed(),
    "dict": {"array": WAVE, "sampling_rate": RATE, "path": None},
    "torch row": {"array": torch.from_numpy(WAVE), "sampling_rate": torch.tensor(RATE)},
    "numpy row": {"array": WAVE, "sampling_rate": np.int64(RATE)},
    "bytes": {"bytes": wav_bytes(), "path": "a.wav"},
    "array of bytes": {"bytes": np.frombuffer(wav_bytes(), np.uint8), "path": None},
}


@pytest.fixture(scope="module")
def processor():
    return AussProcessor(AussFeatureExtractor(), AussVideoProcessor(size={"height": 8, "width": 8}))


@pytest.mark.parametrize("kind", KINDS)
def test_everything_hears_the_same(processor, kind):
    sound = KINDS[kind]
    expected = processor(audio=WAVE, sampling_rate=RATE, return_tensors="pt")["input_features"]
    for result in (
        processor(audio=sound, return_tensors="pt"),
        processor(audio=sound, sampling_rate=RATE, return_tensors="pt"),
        processor(videos=FRAMES, audio=sound, return_tensors="pt"),
        processor.feature_extractor(sound, return_tensors="pt"),
    ):
        torch.testing.assert_close(result["input_features"], expected)
    for batch in ([sound, sound], (sound, sound), Column([sound, sound])):
        both = processor(videos=[FRAMES, FRAMES], audio=batch, return_tensors="pt")["input_features"]
        torch.testing.assert_close(both, expected.expand(2, -1, -1, -1))
    for clip in (ArrayClip(FRAMES, sound), open_clip({"frames": FRAMES, "audio": sound})):
        waveform, rate = clip.waveform(0.5, 1.5)
        assert rate == RATE
        np.testing.assert_allclose(waveform, WAVE[RATE // 2 : RATE // 2 + RATE], atol=1e-6)
    waveform, rate = decode_audio(sound)
    assert rate == RATE
    np.testing.assert_allclose(waveform.numpy(), WAVE, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_rate_that_contradicts_is_refused(processor, kind):
    with pytest.raises(ValueError, match=r"sampling_rate must be that of audio's own"):
        processor(audio=KINDS[kind], sampling_rate=16_000)
    with pytest.raises(ValueError, match=r"sampling_rate must be that of audio's own"):
        ArrayClip(FRAMES, KINDS[kind], 16_000)


def test_the_channels_of_a_decoder_are_not_averaged_by_it():
    """`datasets` averages the channels for ["array"], so channels that cancel each other would give silence."""
    opposite = DatasetsDecoder(torch.stack([STEREO[0], -STEREO[0]]))
    assert decoded_sound(opposite)["array"].shape == (2, len(WAVE)) and not opposite["array"].any()


def test_waveforms_stay_what_they_are():
    assert decoded_audio(WAVE) is WAVE and decoded_audio(STEREO) is STEREO
    numbers = [0.1, 0.2]
    assert decoded_audio(numbers) is numbers and decoded_audio([]) == []
    assert decoded_audio([WAVE, WAVE])[1] is WAVE
    odd = {"array": None, "sampling_rate": 3}
    assert decoded_sound(odd) is odd and decoded_sound("a.wav") == "a.wav"


def test_clips_of_which_only_some_bring_their_rate_are_refused(processor):
    with pytest.raises(ValueError, match="audio holds dicts, so each clip must be a dict"):
        processor(audio=[KINDS["decoder"], WAVE])


def test_files_that_are_no_sounds_are_named(tmp_path):
    wav = wav_bytes()
    cases = {
        b"": "is empty",
        b"no sound at all": "is not a sound file",
        wav[:1000]: "is truncated: 1000 of",
        wav_bytes(np.zeros(0, np.float32)): "has no samples",
    }
    for content, message in cases.items():
        (tmp_path / "a.wav").write_bytes(content)
        for source in (tmp_path / "a.wav", content):
            with pytest.raises(ValueError, match=f"^audio a.wav {message}"):
                read_sound(source, "audio a.wav")
    with pytest.raises(FileNotFoundError, match="it does not exist"):
        read_sound(tmp_path / "b.wav", "it")
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(ValueError, match="it is no file"):
        read_sound(tmp_path / "pipe.wav", "it")
    with pytest.raises(FileNotFoundError, match=r"audio file http://127.0.0.1/a\.wav does not exist"):
        decoded_sound({"path": "http://127.0.0.1/a.wav", "bytes": None})


def test_a_decoder_that_fails_and_rates_that_no_recording_has_are_named():
    class Failing:
        metadata = SimpleNamespace(path="clip.mp3")

        def get_all_samples(self):
            raise RuntimeError("Invalid data found when processing input")

    with pytest.raises(ValueError, match=r"audio clip\.mp3 cannot be decoded: Invalid data"):
        decoded_audio(Failing())
    with pytest.raises(ValueError, match="it has a sampling rate of 3 Hz, which no recording has"):
        read_sound(wav_bytes(WAVE[:100], 3), "it")


def test_any_damage_gives_samples_or_a_named_error():
    rng = np.random.default_rng(1)
    for form, subtype in (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")):
        file = io.BytesIO()
        soundfile.write(file, WAVE[:8000], RATE, subtype, format=form)
        for _ in range(20):
            content = bytearray(file.getvalue())
            for place in rng.integers(4, 60, 3):
                content[place] = rng.integers(256)
            try:
                samples, rate = read_sound(bytes(content), "x")
                assert len(samples) and rate > 0
            except ValueError as error:
                assert str(error).startswith("x ")


def test_frames_of_a_video_decoder_and_stored_pictures(processor):
    class VideoDecoder:
        frames = torch.from_numpy(FRAMES).permute(0, 3, 1, 2) + 40

        def __len__(self):
            return len(self.frames)

        def __getitem__(self, index):
            return self.frames[index]

        def get_frames_in_range(self, start, stop):
            raise NotImplementedError

    decoder = VideoDecoder()
    expected = processor(videos=decoder.frames, return_tensors="pt")["pixel_values"]
    batch = SimpleNamespace(data=decoder.frames, pts_seconds=torch.arange(2.0), duration_seconds=torch.ones(2))
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(FRAMES[0] + 40).save(file, "PNG")
    stored = [{"bytes": file.getvalue(), "path": "a.png"}] * 2
    for videos in (decoder, batch, stored):
        torch.testing.assert_close(processor(videos=videos, return_tensors="pt")["pixel_values"], expected)
        torch.testing.assert_close(
            processor(videos=[videos, videos], return_tensors="pt")["pixel_values"], expected.expand(2, -1, -1, -1, -1)
        )
        clip = ArrayClip(videos, WAVE, RATE)
        assert len(list(clip.frames())) == 2

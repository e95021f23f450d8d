"""Tests of `AussProcessor`: its two parts together, which keyword goes to which part, errors, and saving."""

import numpy as np
import pytest
import torch
from transformers import AutoProcessor
from transformers.modeling_outputs import ModelOutput

import auss  # noqa: F401 (registers the Auto classes)
from auss.processing.feature_extraction_auss import AussFeatureExtractor
from auss.processing.processing_auss import AussProcessor
from auss.processing.video_processing_auss import AussVideoProcessor

FRAMES = np.random.default_rng(0).integers(0, 256, (5, 30, 40, 3), dtype=np.uint8)
WAVEFORM = np.random.default_rng(1).uniform(-1, 1, 5 * 44_100)


@pytest.fixture
def processor():
    return AussProcessor(
        feature_extractor=AussFeatureExtractor(), video_processor=AussVideoProcessor(size={"height": 32, "width": 48})
    )


def test_joins_what_the_two_parts_give(processor):
    inputs = processor(videos=FRAMES, audio=WAVEFORM, sampling_rate=44_100, return_tensors="pt")
    assert set(inputs) == set(processor.model_input_names) == {"pixel_values", "input_features", "input_features_mask"}
    assert inputs.pixel_values.shape == (1, 5, 3, 32, 48)
    assert inputs.input_features.shape == (1, 5, 96, 64)
    audio = processor.feature_extractor(WAVEFORM, sampling_rate=44_100, return_tensors="pt")
    torch.testing.assert_close(inputs.input_features, audio.input_features)
    torch.testing.assert_close(inputs.input_features_mask, audio.input_features_mask)
    video = processor.video_processor(FRAMES, return_tensors="pt")
    torch.testing.assert_close(inputs.pixel_values, video.pixel_values)


def test_a_batch_of_clips_with_rates_of_their_own(processor):
    inputs = processor(
        videos=[FRAMES, FRAMES[::-1]],
        audio=[WAVEFORM, WAVEFORM[:16_000]],
        sampling_rate=[44_100, 16_000],
        return_tensors="pt",
    )
    assert inputs.pixel_values.shape == (2, 5, 3, 32, 48)
    assert inputs.input_features_mask.tolist() == [[1] * 5, [1, 0, 0, 0, 0]]


def test_sound_as_datasets_decodes_it_needs_no_rate_beside_it(processor):
    sound = {"array": WAVEFORM, "sampling_rate": 44_100, "path": None}
    inputs = processor(videos=FRAMES, audio=sound, return_tensors="pt")
    expected = processor(videos=FRAMES, audio=WAVEFORM, sampling_rate=44_100, return_tensors="pt")
    assert inputs.keys() == expected.keys()
    assert all(torch.equal(inputs[name], expected[name]) for name in inputs)


def test_either_part_alone(processor):
    assert set(processor(videos=FRAMES)) == {"pixel_values"}
    assert set(processor(audio=WAVEFORM, sampling_rate=44_100)) == {"input_features", "input_features_mask"}


def test_keywords_reach_the_part_that_knows_them(processor):
    flat = processor(
        videos=FRAMES,
        audio=WAVEFORM,
        sampling_rate=44_100,
        padding="max_length",
        max_length=7,
        size=16,
        return_tensors="np",
    )
    nested = processor(
        videos=FRAMES,
        audio=WAVEFORM,
        audio_kwargs={"sampling_rate": 44_100, "padding": "max_length", "max_length": 7, "return_tensors": "np"},
        videos_kwargs={"size": 16, "return_tensors": "np"},
    )
    for inputs in (flat, nested):
        assert isinstance(inputs.input_features, np.ndarray)
        assert inputs.input_features.shape == (1, 7, 96, 64)
        assert inputs.pixel_values.shape == (1, 5, 3, 16, 16)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({}, ValueError, "needs videos, audio or both"),
        ({"videos": FRAMES, "audio": WAVEFORM}, ValueError, "sampling_rate is missing"),
        (
            {"videos": [FRAMES, FRAMES], "audio": [WAVEFORM] * 3, "sampling_rate": 44_100},
            ValueError,
            "equally many clips, got 2 in videos and 3 in audio",
        ),
        ({"videos": [], "audio": WAVEFORM, "sampling_rate": 44_100}, ValueError, "videos holds no clip"),
        ({"images": FRAMES[0], "audio": WAVEFORM, "sampling_rate": 44_100}, TypeError, "got images"),
        ({"text": "a dog", "videos": FRAMES}, TypeError, "got text"),
    ],
)
def test_bad_input_is_refused(processor, kwargs, error, message):
    with pytest.raises(error, match=message):
        processor(**kwargs)


def test_silent_audio_with_one_frame(processor):
    inputs = processor(videos=FRAMES[0], audio=np.zeros(80_000), sampling_rate=16_000, return_tensors="pt")
    assert inputs.pixel_values.shape == (1, 1, 3, 32, 48)
    assert inputs.input_features.isfinite().all()


def test_the_parts_must_be_in_order():
    with pytest.raises(TypeError, match="feature_extractor"):
        AussProcessor(AussVideoProcessor(), AussFeatureExtractor())


def test_saving_and_loading_keeps_everything(processor, tmp_path):
    processor.feature_extractor.num_audio_examples = 8
    processor.save_pretrained(tmp_path)
    kwargs = {
        "videos": FRAMES,
        "audio": WAVEFORM,
        "sampling_rate": 44_100,
        "padding": "max_length",
        "return_tensors": "pt",
    }
    expected = processor(**kwargs)
    for loaded in (AussProcessor.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)):
        assert type(loaded) is AussProcessor
        assert loaded.to_dict() == processor.to_dict()
        for key, value in loaded(**kwargs).items():
            torch.testing.assert_close(value, expected[key], rtol=0, atol=0)
    assert expected.input_features.shape == (1, 8, 96, 64)


def test_post_processing_is_a_method(processor):
    outputs = ModelOutput(logits=torch.rand(1, 5, 2, 8, 12))
    (clip,) = processor.post_process_audio_visual_segmentation(outputs, target_sizes=[(30, 40)])
    assert clip["segmentation"].shape == clip["scores"].shape == (5, 30, 40)


def test_the_tokenizer_that_trainer_asks_for_is_no_part(processor, tmp_path):
    assert processor.get_attributes() == ["feature_extractor", "video_processor"]
    processor.save_pretrained(tmp_path)
    assert "tokenizer" not in "".join(path.read_text() for path in tmp_path.glob("*.json"))
    assert not list(tmp_path.glob("*token*"))
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert "tokenizer" not in loaded.to_dict() and "tokenizer" not in repr(loaded)
    assert loaded.tokenizer.eos_token_id is None

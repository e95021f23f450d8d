import pytest
import torch

from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from auss.processing import video_frames
from auss.train.evaluation.segmented_clips import frame_logits


@pytest.mark.parametrize("conditioned", [False, True])
def test_a_batch_in_small_groups_gives_what_it_gives_at_once(make_config, monkeypatch, conditioned):
    """The sound is encoded once, the model gets no padding, and no pass has more frames than allowed."""
    torch.manual_seed(0)
    model = AussForAudioVisualSegmentation(make_config(frame_conditioned_queries=conditioned)).eval()
    inputs = {
        "pixel_values": torch.randn(2, 5, 3, 32, 32),
        "input_features": torch.randn(2, 5, 96, 64),
        "input_features_mask": torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]),
        "frame_examples": torch.tensor([[2, 0, 1, 0, 0], [4, 3, 2, 1, 0]]),
        "frame_mask": torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]),
    }
    with torch.no_grad():
        expected = model(**inputs).logits[inputs["frame_mask"].bool()]
        passes, heard = [], []
        model.auss.register_forward_pre_hook(lambda _, args: passes.append(args[0].shape[:2].numel()))
        model.auss.audio_encoder.register_forward_hook(lambda *_: heard.append(1))
        torch.testing.assert_close(frame_logits(model, inputs), expected)  # all frames in one pass
        monkeypatch.setattr(video_frames, "CPU_PIXELS", 3 * 32 * 32)
        torch.testing.assert_close(frame_logits(model, inputs), expected, rtol=1e-4, atol=1e-5)
    assert passes == [10, 3, 3, 2] and len(heard) == 2

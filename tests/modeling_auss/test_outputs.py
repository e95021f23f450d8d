"""The output classes behave like those of Transformers: access by name or index, and no entries that are None."""

import torch

from auss.modeling_auss.outputs import AussModelOutput, AussSegmentationOutput


def test_fields_are_read_by_name_and_by_place():
    logits = torch.zeros(1, 2, 2, 4, 4)
    output = AussSegmentationOutput(loss=torch.tensor(1.5), logits=logits)
    assert output[0] == output["loss"] == output.loss == 1.5
    assert output.logits is logits
    assert output.to_tuple()[1] is logits
    assert list(output) == ["loss", "logits"]


def test_what_is_missing_is_left_out_of_the_tuple():
    assert AussSegmentationOutput().to_tuple() == ()
    output = AussModelOutput(last_hidden_state=torch.zeros(1), layer_queries=(torch.zeros(1), torch.ones(1)))
    assert len(output.to_tuple()) == 2
    assert output.mask_features is None


def test_the_documented_fields_are_there():
    assert [field for field in AussSegmentationOutput.__dataclass_fields__] == [
        "loss",
        "loss_dict",
        "logits",
        "class_queries_logits",
        "masks_queries_logits",
        "audio_queries",
        "fused_queries",
        "hidden_states",
        "attentions",
    ]

import pytest
import torch

from auss.published_weights.prefixes import backbone_part

INNER = {"conv1.weight": torch.zeros(1), "layer1.0.conv1.weight": torch.ones(1)}


@pytest.mark.parametrize(
    "prefix, others",
    [
        ("", []),
        ("module.", []),
        ("_orig_mod.module.", []),
        ("module._orig_mod.", []),
        ("model.", []),
        ("backbone.", ["head.weight"]),
        ("module.backbone.", ["module.head.weight"]),
        ("model.backbone.", ["model.decode_head.weight"]),
        ("module.encoder_q.", ["module.encoder_k.conv1.weight", "module.queue"]),
        ("auss.image_embedding_extractor.backbone.", ["auss.fusion_decoder.backbone.weight"]),
        ("base_model.model.auss.image_embedding_extractor.backbone.", []),
        ("timm_model.", []),
    ],
)
def test_the_network_is_found_in_what_contains_it(prefix, others):
    tensors = {f"{prefix}{name}": tensor for name, tensor in INNER.items()} | dict.fromkeys(others, torch.zeros(9))
    assert backbone_part(tensors) == INNER

"""What training code puts before the names of a network's tensors."""

import torch

Tensors = dict[str, torch.Tensor]

# An image backbone in an auss model, whatever wraps the model.
AUSS_BACKBONE = "image_embedding_extractor.backbone."
# Of DistributedDataParallel and torch.compile.
LAUNCHERS = ("module.", "_orig_mod.")
# Names under which larger models keep the network; what else is in the file belongs to their heads.
PARTS = ("backbone.", "encoder_q.", "timm_model.", "model.", "net.", "visual.trunk.")


def backbone_part(tensors: Tensors) -> Tensors:
    """
    The tensors of the network that a larger one contains, without the prefixes of whatever wraps it: all others are
    left out. Names without such prefixes stay as they are.
    """
    if any(AUSS_BACKBONE in name for name in tensors):
        parts = (name.partition(AUSS_BACKBONE) for name in tensors)
        return {after: tensors[before + infix + after] for before, infix, after in parts if infix}
    for launcher in LAUNCHERS:
        if any(name.startswith(launcher) for name in tensors):
            return backbone_part({name.removeprefix(launcher): tensor for name, tensor in tensors.items()})
    for part in PARTS:
        inner = {name.removeprefix(part): tensor for name, tensor in tensors.items() if name.startswith(part)}
        if inner:
            return backbone_part(inner)
    return tensors


__all__ = ["backbone_part"]

"""Published weights, of the backbone and of VGGish: where they are, how their tensors are named, whether they fit."""

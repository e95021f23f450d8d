"""Published weights of image backbones and of VGGish: finding them, renaming their tensors, checking that they fit."""

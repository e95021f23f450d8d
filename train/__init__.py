"""AVSBench, augmentation, the composer, the training loop, metrics and evaluation."""

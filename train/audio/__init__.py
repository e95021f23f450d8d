"""Prepares the audio encoder before training: pretraining on sounds of known categories, and the public VGGish
weights."""

"""Pretraining of the audio encoder on sounds of known categories, for those who lack AudioSet weights."""

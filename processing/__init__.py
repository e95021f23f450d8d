"""Turns waveforms and frames into the network's inputs, and the network's outputs into masks."""

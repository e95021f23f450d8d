"""From waveforms and frames to the network's inputs, and from its outputs back to masks."""

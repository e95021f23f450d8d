"""Live video: `LiveSegmenter` for sound and frames as they come, and `auss live` with sources, queue and outputs."""

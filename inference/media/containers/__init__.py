"""Media files and URLs: opening and decoding them, the times of frames, and what a container can hold."""

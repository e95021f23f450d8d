"""The sound tracks of a video: which one is heard, and its samples."""

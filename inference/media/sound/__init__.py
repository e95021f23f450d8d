"""The sound tracks of a video: the choice of a track, and the samples of that track."""

"""Uses a trained model: the pipeline, `segment`, `segment-folder` and `export`. `media/` reads and writes videos."""

"""Using a trained model: the pipeline, `segment`, `segment-folder` and export; videos are read in `media/`."""

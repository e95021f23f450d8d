"""Writes the files of a model repository besides the weights, so that a model loads where auss is not installed."""

"""Scoring by the protocol of AVSBench: the metrics, for a model folder, for `evaluate` and for the Trainer."""

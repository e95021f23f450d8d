"""Scoring by the protocol of AVSBench: metrics for model folders, for the `evaluate` library and for Trainer."""

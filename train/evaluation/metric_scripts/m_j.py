"""M_J of AVSBench's S4 and MS3 for `evaluate.load`. It copies this file elsewhere, so relative imports would fail."""

from auss.train.evaluation.metric_modules import MeanJaccard

__all__ = ["MeanJaccard"]

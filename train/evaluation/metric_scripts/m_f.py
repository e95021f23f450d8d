"""M_F of AVSBench's S4 and MS3 for `evaluate.load`, which copies this file elsewhere: no relative imports."""

from auss.train.evaluation.metric_modules import MeanFScore

__all__ = ["MeanFScore"]

"""M_J and M_F of AVSBench-semantic for `evaluate.load`, which copies this file elsewhere: no relative imports."""

from auss.train.evaluation.metric_modules import SemanticScores

__all__ = ["SemanticScores"]

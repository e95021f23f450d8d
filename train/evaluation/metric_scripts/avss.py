"""M_J and M_F of AVSBench-semantic for `evaluate.load`. It copies this file elsewhere, so relative imports would
fail."""

from auss.train.evaluation.metric_modules import SemanticScores

__all__ = ["SemanticScores"]

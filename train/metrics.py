"""The two scores of a clip, `jaccard` and `f_score`, under the short name that users import them by."""

from .evaluation.metrics import f_score, jaccard

__all__ = ["f_score", "jaccard"]

"""Offers the two scores of a clip, `jaccard` and `f_score`, under the short module name that users import."""

from .evaluation.metrics import f_score, jaccard

__all__ = ["f_score", "jaccard"]

from auss.train import metrics
from auss.train.evaluation import metrics as definitions


def test_the_short_name_leads_to_the_two_scores():
    assert metrics.jaccard is definitions.jaccard and metrics.f_score is definitions.f_score

"""The chosen queries of each frame come first, and all of them."""

import pytest
import torch

from auss.modeling_auss.query_selection import confident_rows


@pytest.mark.parametrize("most", [0, 1, 3])
def test_confident_rows_keeps_them_all_in_order(most):
    rows = torch.arange(10.0).view(2, 5, 1)
    confident = torch.zeros(2, 5, dtype=torch.bool)
    confident[0, [4, 1, 3][:most]] = True
    chosen, valid, order = confident_rows(rows, confident)
    assert chosen.shape == (2, max(1, most), 1) and valid.shape == (2, max(1, most))
    assert torch.equal(chosen[0][valid[0]], rows[0][confident[0]])
    assert torch.equal(rows.squeeze(-1).gather(1, order), chosen.squeeze(-1))
    assert not valid[1].any()

"""All confident queries of each frame are moved to the front."""

import pytest
import torch

from auss.modeling_auss.losses.query_selection import confident_rows


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


def test_an_exported_graph_keeps_every_query_in_its_place():
    """In eager mode the sizes depend on the data. A graph's sizes must not, and ONNX has no stable sort."""

    class Selection(torch.nn.Module):
        def forward(self, rows, confident):
            return confident_rows(rows, confident)

    rows, confident = torch.arange(10.0).view(2, 5, 1), torch.zeros(2, 5, dtype=torch.bool)
    program = torch.export.export(Selection(), (rows, confident))
    assert not [node for node in program.graph.nodes if "sort" in str(node.target)]
    confident[0, [4, 1]] = True
    chosen, valid, order = program.module()(rows, confident)
    assert torch.equal(chosen, rows) and torch.equal(valid, confident)
    assert torch.equal(order, torch.arange(5).expand(2, 5))

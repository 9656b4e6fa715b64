"""The rank that a flow reports for a table."""

import pytest
import torch

from experiments.common.results import Results
from experiments.ranks import run as ranks
from experiments.ranks.page import page


@pytest.mark.filterwarnings("ignore:The training data has no density")
def test_a_linear_flow_reports_the_rank_of_a_table():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(12_800, 3, generator=generator) * torch.tensor([1.0, 0.3, 0.05])
    table = torch.cat([rows @ torch.randn(3, 4, generator=generator), torch.zeros(12_800, 1)], 1)
    eigenvalues = torch.linalg.eigvalsh(torch.cov(table.double().T)).flip(0)
    assert ranks.choose_noise(table) == pytest.approx(eigenvalues[2].item() / 10, rel=1e-3)
    found = ranks.run(ranks.Linear, table, table[:50], seed=0, steps=800)
    assert found.dimension == 3
    assert (found.dimensions == 3).all()
    assert found.spanned[:3].allclose(eigenvalues[:3], rtol=0.1)


def test_runs_that_report_the_rank_are_counted():
    runs = [
        {"table": "naval", "flow": "linear", "seed": 0, "noise": 1.0, "dimension": dimension}
        | {"local": 2.0, "spanned": [9.0, last, 0.5]}
        for dimension, last in ((2, 6.0), (1, 4.0))
    ]
    facts = {"ranks": {"naval": 2}, "threshold": 5.0, "points": 9, "batch": 9}
    found = page(Results("", {"steps": 1}, facts=facts, runs=runs))
    assert found.answer.startswith("1 of 2 runs do")
    assert found.rows == [["naval", "linear", "2", "2, 1", "4", "0.5", "2, 2"]]

"""The comparison of reducing flows runs, and counts what it says."""

import pytest

from experiments.common.results import Results
from experiments.reduction import run as reduction
from experiments.reduction.page import page


def test_both_flows_are_scored(tmp_path, monkeypatch):
    make = reduction.make
    monkeypatch.setattr(reduction, "make", lambda method, shape: make(method, shape, (8,)))
    out = tmp_path / "results.json"
    options = ["--seeds", "2", "--steps", "2", "--only", "digits", "--out", str(out)]
    reduction.main(options)
    (row,) = page(Results.load(out)).rows
    assert row[:2] == ["digits", "2"]
    assert sum(" to " in text for text in row) == 3  # ranges of two seeds, and an interval


def test_half_of_the_dimensions_are_lost():
    flows = [reduction.make(method, (7,)) for method in reduction.METHODS]
    assert [flow.latent_shape for flow in flows] == [(7,), (4,)]
    assert all(flow.exact for flow in flows)


@pytest.mark.parametrize("origin", [0.0, -100.0])
def test_what_is_lost_is_said_in_nats_wherever_their_origin_lies(origin):
    nats = {reduction.BIJECTIVE: (1.0, 2.0, 3.0), reduction.REDUCING: (0.0, 2.0, 1.0)}
    runs = [
        {"data": "protein", "method": method, "seed": seed, "nats": origin + value}
        for method, values in nats.items()
        for seed, value in enumerate(values)
    ]
    facts = {"steps": {"protein": 1}, "layers": 4, "bins": 8, "hidden": [8], "rate": 1}
    results = Results("", {"seeds": 3}, facts=facts, runs=runs)
    # of the differences -1, 0, -2; t with 2 degrees of freedom is 4.303
    assert page(results).rows[0][-1] == "-1 (-3.5 to +1.5)"

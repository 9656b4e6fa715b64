"""The comparison on data with symmetries runs and reports; its integral is right."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from benchmarks import symmetry
from benchmarks.symmetry import AUGMENTED, CASES, Outcome
from lightning_flows.flows import ComposedFlow, RealNVP
from lightning_flows.modules import SurjectiveModule
from lightning_flows.transforms import Augment


def test_every_case_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(symmetry, "BOUNDED", 5)
    monkeypatch.setattr(symmetry, "ROWS", {"n_train": 50, "n_val": 0, "n_test": 20})
    out = tmp_path / "results.md"
    symmetry.main(["--seeds", "2", "--steps", "1", "--draws", "3", "--out", str(out)])
    text = out.read_text(encoding="utf-8")
    assert text.startswith("<!-- symmetry: begin -->")
    for cases, column, figures in ((CASES, "data", 3), (AUGMENTED, "name", 6)):
        for case in cases:
            start = f"| {getattr(case, column)} |"
            (row,) = [line for line in text.splitlines() if line.startswith(start)]
            assert row.count(" to ") == figures
    assert "nan" not in text


@pytest.mark.parametrize("case", [*CASES, AUGMENTED[2]], ids=lambda case: case.data)
def test_both_flows_have_the_same_size(case):
    first, second = symmetry.sizes(case)
    assert abs(first - second) <= 0.05 * first


@pytest.mark.parametrize("case", AUGMENTED[:2], ids=lambda case: case.name)
def test_other_flows_differ_by_what_the_noise_takes(case):
    first, second = symmetry.sizes(case)
    assert first < second < 1.2 * first


def test_a_bound_stands_beside_a_density_of_the_same_rows(monkeypatch):
    monkeypatch.setattr(symmetry, "BOUNDED", 7)
    monkeypatch.setattr(symmetry, "ROWS", {"n_train": 50, "n_val": 0, "n_test": 20})
    augmented = replace(AUGMENTED[2], data="signed_rings")
    plain, ours = (symmetry.run(augmented, kind, 0, 1, 3) for kind in ("bijective", "surjective"))
    assert plain.best == ours.best
    assert plain.best != symmetry.run(CASES[0], "bijective", 0, 1, 3).best


@pytest.mark.parametrize("added", [1, 2])
@torch.no_grad()
def test_the_integral_is_what_many_draws_find(added):
    torch.manual_seed(0)
    layers = [partial(Augment, add=added), partial(RealNVP, layers=2, hidden=(8,))]
    model = SurjectiveModule(partial(ComposedFlow, layers=layers), 2, chunk_size=2000).eval()
    for parameter in model.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    x = torch.randn(6, 2)
    weights = model.log_weights(x, n=20_000)
    found = weights.logsumexp(1) - math.log(20_000)
    torch.testing.assert_close(symmetry.integral(model, x), found, atol=0.05, rtol=0)


def test_a_run_that_broke_is_left_out():
    plain, ours = [Outcome(-2.0), Outcome(), Outcome(-3.0)], [Outcome(-1.5), Outcome(-1.0)]
    assert symmetry.figure(plain, "log_prob") == "-2.5 (-3 to -2)"
    assert symmetry.difference(plain, ours, 3) == "+0.5"

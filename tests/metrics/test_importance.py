"""Effective sample sizes and log-evidences against closed forms, far outside of exp's range too."""

import math

import pytest
import torch
from torch.distributions import Normal

from lightning_flows.core.errors import ShapeError
from lightning_flows.metrics import effective_sample_size, log_evidence
from lightning_flows.metrics.importance import LogEvidence, LogEvidenceError


def test_equal_weights_are_worth_their_number():
    for level in (-2000.0, 0.0, 2000.0):
        weights = torch.full((3, 40), level)
        assert effective_sample_size(weights).tolist() == pytest.approx([40] * 3, abs=1e-6)
        assert effective_sample_size(weights, fraction=True).tolist() == pytest.approx([1] * 3)
        value, error = log_evidence(weights)
        assert value.tolist() == pytest.approx([level] * 3)
        assert error.tolist() == pytest.approx([0] * 3, abs=1e-7)


def test_draws_without_weight_count():
    weights = torch.tensor([0.0, 0.0, -torch.inf, -torch.inf])
    assert effective_sample_size(weights) == 2
    assert log_evidence(weights).value.item() == pytest.approx(math.log(0.5))
    nothing = torch.full((4,), -torch.inf)
    assert effective_sample_size(nothing).isnan()
    assert log_evidence(nothing).value == -torch.inf


def test_a_normal_by_a_wider_one():
    """Z = 3 by hand; ESS / n = 1 / E_q[(p/q)²] = √(2 s² - 1) / s² for q of standard deviation s."""
    s, n, repetitions = 1.5, 2000, 200
    q, p = Normal(torch.tensor(0.0).double(), s), Normal(torch.tensor(0.0).double(), 1.0)
    torch.manual_seed(0)
    x = q.sample((repetitions, n))
    weights = p.log_prob(x) + math.log(3) - q.log_prob(x)
    expected = math.sqrt(2 * s**2 - 1) / s**2
    found = effective_sample_size(weights, fraction=True)
    assert found.mean().item() == pytest.approx(expected, abs=2e-3)
    value, error = log_evidence(weights)
    assert value.mean().item() == pytest.approx(math.log(3), abs=4 * 0.02 / repetitions**0.5)
    # the delta method's error is the spread over repetitions
    assert error.mean().item() == pytest.approx(value.std().item(), rel=0.15)


def test_the_metric_of_errors_is_that_of_the_evidence():
    torch.manual_seed(0)
    metric, errors = LogEvidence(), LogEvidenceError()
    for part in torch.randn(50, 3).split([20, 30]):
        metric.update(part)
        errors.update(part)
    torch.testing.assert_close(errors.compute(), metric.standard_error())


def test_a_single_number_is_refused():
    with pytest.raises(ShapeError, match="log_weights is a single number; expected is"):
        log_evidence(torch.tensor(1.0))

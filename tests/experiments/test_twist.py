"""Components of linear Gaussian data are PCA; a twist hides that, and the Tikhonov term undoes it.

With the twisted flow everything that likelihood can see is as before.
"""

import math

import pytest
import torch

from experiments.common.results import Results
from experiments.twist import run as twist
from experiments.twist.page import page
from lightning_flows.components import components
from lightning_flows.flows import Flow
from lightning_flows.transforms import Chain, LULinear

ALPHA = 0.02


@pytest.fixture(scope="module")
def plane():
    """Data in the plane, and the linear flow that was fitted to it."""
    x = twist.gaussian((2.0, 0.6), 3000, turn=0.4)
    flow = twist.linear(2)
    twist.fit(flow, x, steps=200)
    return x, flow


def medians(flow, x, **options):
    """Median variances, and angles of the first axes to those of PCA in degrees."""
    found = components(flow.encode, flow.decode, x[:500], **options)
    angles = twist.angles_to(found.axes, twist.pca(x)[0])
    return found.variances.median(0).values, angles[:, 0]


@pytest.mark.parametrize("tikhonov", [0.0, ALPHA])
def test_a_linear_flow_that_was_trained_gives_pca(tikhonov):
    x = twist.gaussian((3.0, 2.0, 1.0, 0.6, 0.4), 4000)
    flow = Flow(Chain([LULinear(5)])).double()
    twist.fit(flow, x, tikhonov=tikhonov, steps=500)
    axes, variances = twist.pca(x)
    found = components(flow.encode, flow.decode, x[:50], tikhonov=tikhonov)
    assert twist.angles_to(found.axes, axes).max() < 1
    torch.testing.assert_close(found.variances, variances.expand(50, 5), rtol=0.03, atol=0)
    signs = (found.axes * axes).sum(2).sign()
    torch.testing.assert_close(found.coordinates, signs * (x[:50] @ axes.T), rtol=0.02, atol=0.02)


def test_a_twist_keeps_the_likelihood_and_breaks_the_spectrum(plane):
    x, flow = plane
    twisted = twist.twisted(flow)
    torch.testing.assert_close(twisted.log_prob(x), flow.log_prob(x))
    for z in (twisted.encode(x), twisted.decode(x)):
        assert z.isfinite().all()
    torch.testing.assert_close(twisted.decode(twisted.encode(x)), x)
    truth = twist.pca(x)[1]
    straight, _ = medians(flow, x)
    torch.testing.assert_close(straight, truth, rtol=0.03, atol=0)
    broken, angles = medians(twisted, x)
    assert broken[0] > 3 * truth[0]
    assert broken[1] < truth[1] / 3
    assert angles.median() > 5


def test_likelihood_alone_does_not_untwist_and_tikhonov_does(plane):
    x, flow = plane
    truth = twist.pca(x)[1]
    twisted = twist.twisted(flow)
    twist.fit(twisted, x, steps=100)
    assert medians(twisted, x)[0][0] > 3 * truth[0]
    history = twist.fit(twisted, x, tikhonov=ALPHA, steps=200)
    found, angles = medians(twisted, x, tikhonov=ALPHA)
    torch.testing.assert_close(found, truth, rtol=0.03, atol=0)
    assert angles.max() < 1
    assert history.nll[-1] < history.nll[0] + 0.01  # what it costs
    assert math.isclose(history.steps[-1], 200)


def test_the_experiment_draws_and_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(twist, "POINTS", 200)
    out, figure = tmp_path / "results.json", tmp_path / "twist.png"
    twist.main(["--steps", "4", "--out", str(out), "--figure", str(figure)])
    assert [row[0] for row in page(Results.load(out)).rows][:2] == ["linear", "twisted"]
    assert figure.read_bytes().startswith(b"\x89PNG")

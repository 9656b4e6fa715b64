"""Densities, samples and latents speak of data in its original units."""

import math
from functools import partial

import pytest
import torch
from torch.autograd.functional import jacobian

from lightning_flows import (
    Chain,
    DensityModule,
    Inverse,
    NeuralSplineFlow,
    PaddedFlow,
    RealNVP,
    RectangularModule,
)
from lightning_flows.core.errors import ShapeError
from lightning_flows.datamodules import Arrays, Digits
from lightning_flows.transforms import Dequantize, Logit, Softplus
from lightning_flows.transforms.bijections.standardize import Standardize

SMALL = partial(RealNVP, layers=4, hidden=(16,), activation="tanh")


def skewed(n=4000):
    """Two correlated columns of very different size, far from the origin."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 2, generator=generator) @ torch.tensor([[1.0, 0.7], [0.0, 0.6]])
    return x * torch.tensor([100.0, 0.01]) + torch.tensor([5000.0, -3.0])


@pytest.fixture(scope="module")
def fitted(make_trainer):
    torch.manual_seed(0)
    model = DensityModule(partial(NeuralSplineFlow, layers=2, hidden=(16,)), 2)
    make_trainer(max_epochs=6).fit(model, Arrays(data=skewed()))
    return model.eval()


def test_the_density_integrates_to_1_in_original_units(fitted):
    # seven standard deviations each way
    first, second = torch.linspace(4300, 5700, 700), torch.linspace(-3.07, -2.93, 700)
    grid = torch.cartesian_prod(first, second)
    with torch.no_grad():
        total = fitted.log_prob(grid).exp().sum() * 1400 / 699 * 0.14 / 699
    assert abs(total - 1) < 0.01


def test_samples_and_likelihood_are_those_of_the_data(fitted):
    x = skewed()
    with torch.no_grad():
        samples = fitted.sample(4000)
        nll = -fitted.log_prob(x).mean()
    assert (samples.mean(0) - x.mean(0)).abs().div(x.std(0)).max() < 0.1
    assert (samples.std(0) / x.std(0) - 1).abs().max() < 0.1
    entropy = 0.5 * torch.logdet(2 * math.pi * math.e * torch.cov(x.double().T))
    assert abs(nll - entropy) < 0.05


def test_encode_and_decode_undo_each_other_in_original_units(fitted):
    x = skewed(50)
    with torch.no_grad():
        z = fitted.encode(x)
        torch.testing.assert_close(fitted.decode(z), x, rtol=1e-5, atol=1e-4)
    assert z.abs().max() < 6
    assert torch.equal(fitted(x), fitted.log_prob(x))


def test_the_contribution_is_that_of_the_whole_map():
    torch.manual_seed(1)
    model = DensityModule(SMALL, 3).double()
    model.preprocess = curved()
    x = torch.randn(5, 3, dtype=torch.float64).exp() + 0.5
    whole = jacobian(lambda x: model.encode(x).sum(0), x).transpose(0, 1)
    base = model.flow.base.log_prob(model.encode(x))
    torch.testing.assert_close(model.log_prob(x), base + torch.linalg.slogdet(whole)[1])


def curved():
    """A preprocessing that is not linear: positive data to standardized logarithms of a kind."""
    parts = Chain([Inverse(Softplus(3)), Standardize(3)]).double()
    parts.transforms[1].std.copy_(torch.tensor([0.5, 2.0, 3.0]))
    return parts


@pytest.mark.parametrize("family", ["density", "rectangular"])
def test_conditional_models(family, make_trainer):
    torch.manual_seed(0)
    data = Digits(context="one-hot", batch_size=64)
    if family == "density":
        model = DensityModule(partial(SMALL, layers=2), data.event_shape, data.context_shape)
        latent = (1, 8, 8)
    else:
        flow = partial(PaddedFlow, latent_features=3, ambient=partial(SMALL, layers=2))
        model = RectangularModule(flow, data.event_shape, data.context_shape)
        latent = (3,)
    trainer = make_trainer(limit_train_batches=2, limit_val_batches=1)
    trainer.fit(model, data)
    assert trainer.callback_metrics["val/nll"].isfinite()
    model.eval()
    x, context = model.unpack(next(iter(data.test_dataloader())))
    log_prob = model.log_prob(x, context)
    assert log_prob.shape == (64,)
    assert not torch.equal(log_prob, model.log_prob(x, context.roll(1, 1)))
    samples = model.sample(3, context[:2])
    assert samples.shape == (2, 3, 1, 8, 8)
    assert torch.equal(samples, samples.round())
    assert samples.min() >= 0
    assert samples.max() <= 16
    assert model.encode(x, context).flatten(1).shape == (64, math.prod(latent))
    assert model.decode(model.encode(x, context), context).shape == x.shape
    with pytest.raises(ShapeError, match="context"):
        model.log_prob(x)
    with pytest.raises(ShapeError, match="the batch holds none"):
        model.unpack(x)


def test_decoded_integers_are_the_data(make_trainer):
    data = Digits(batch_size=64)
    model = DensityModule(partial(SMALL, layers=2), data.event_shape)
    make_trainer(max_steps=1, limit_val_batches=1).fit(model, data)
    x = next(iter(data.test_dataloader()))["x"]
    assert torch.equal(model.decode(model.encode(x)), x.float())


@pytest.mark.parametrize("x", [torch.zeros(4, 3), torch.zeros(2), torch.zeros(4, 2, 1)])
def test_data_of_another_shape_is_refused(x):
    model = DensityModule(SMALL, 2)
    for call in (model.log_prob, model.encode, model.unpack):
        with pytest.raises(ShapeError, match=r"expected is \(batch, 2\)"):
            call(x)
    with pytest.raises(ShapeError, match="z has shape"):
        model.decode(x)


def test_a_flow_of_another_shape_is_refused():
    with pytest.raises(ShapeError, match="made a density of event_shape"):
        DensityModule(lambda shape: RealNVP(3, layers=1), 2)


def test_pixels_that_are_none_have_no_density():
    """Neither they nor their gradients reach the rows beside them."""
    model = DensityModule(SMALL, 2)
    model.preprocess = Chain([Dequantize(2, 8), Logit(2, alpha=0.05)])
    model.eval()
    x = torch.tensor([[3.0, 7.0], [-1.0, 2.0], [2.5, 1.0], [8.0, 0.0], [torch.nan, 0.0]])
    log_p = model.log_prob(x)
    expected = model.log_prob(x[:1])
    torch.testing.assert_close(log_p[:1], expected)
    assert log_p[1:4].tolist() == [-torch.inf] * 3
    assert log_p[4].isnan()
    parameters = list(model.parameters())
    grads = torch.autograd.grad(log_p[log_p.isfinite()].sum(), parameters)
    alone = torch.autograd.grad(expected.sum(), parameters)
    torch.testing.assert_close(grads, alone)
    pixels = torch.tensor([[3, 7], [255, 2]], dtype=torch.uint8)
    assert model.log_prob(pixels)[1] == -torch.inf
    assert model.training_loss(pixels, None)[0][1] == torch.inf

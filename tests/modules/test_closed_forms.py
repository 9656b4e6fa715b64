"""Linear models whose optimum is known in closed form."""

from functools import partial

import pytest
import torch
from torch import nn

from lightning_flows import (
    DensityModule,
    Flow,
    FreeFormFlow,
    FreeFormModule,
    FreeFormVolume,
    Normal,
)
from lightning_flows.objectives import Tikhonov
from lightning_flows.transforms import LULinear


def gaussian(variances, n=20_000, seed=0):
    """A sample with exactly these principal variances, mean zero, in random axes."""
    generator = torch.Generator().manual_seed(seed)
    d = len(variances)
    x = torch.randn(n, d, dtype=torch.float64, generator=generator)
    x = x - x.mean(0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / n)).T
    axes = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64, generator=generator)).Q
    return x * torch.as_tensor(variances, dtype=torch.float64).sqrt() @ axes.T


def fit(model, x, *, rate, steps):
    """Train on all points at once, by Adam with a learning rate that falls to 0."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        model.training_loss(x, None)[0].mean().backward()
        optimizer.step()
        schedule.step()


class LinearFlow(Flow):
    def __init__(self, event_shape):
        super().__init__(LULinear(event_shape))


@pytest.mark.parametrize("alpha", [0.001, 0.02, 0.3])
def test_tikhonov_shrinks_the_covariance(alpha):
    # W Wᵀ of the optimum: (Σ + 2αI)⁻¹ (Feinman and Parthasarathy 2019), Σ rank-deficient here
    x = gaussian([4.0, 1.0, 0.25, 1e-12])
    model = DensityModule(LinearFlow, 4, penalties=[Tikhonov(alpha, None)]).double()
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=400, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = model.training_loss(x, None)[0].mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    w = model.flow.transform.encode(torch.eye(4).double())[0] - model.flow.transform.bias
    covariance = x.T @ x / len(x)
    expected = torch.linalg.inv(covariance + 2 * alpha * torch.eye(4))
    learned = w @ w.T  # rows of the batch are columns of W
    assert (learned - expected).norm() / expected.norm() < 0.02


def test_noise_does_the_same_as_tikhonov():
    torch.manual_seed(0)
    x = gaussian([4.0, 1.0, 0.25])
    alpha = 0.1
    model = DensityModule(LinearFlow, 3, noise=(2 * alpha) ** 0.5).double()
    fit(model, x, rate=0.02, steps=600)
    w = model.flow.transform.encode(torch.eye(3).double())[0] - model.flow.transform.bias
    expected = torch.linalg.inv(x.T @ x / len(x) + 2 * alpha * torch.eye(3))
    assert (w @ w.T - expected).norm() / expected.norm() < 0.02


class Encoder(nn.Linear):
    def __init__(self, event_shape, features):
        super().__init__(event_shape[0], features, bias=False)


class Decoder(nn.Linear):
    def __init__(self, event_shape, features):
        super().__init__(features, event_shape[0], bias=False)


@pytest.mark.parametrize("beta", [0.5, 50.0])
def test_a_linear_free_form_flow_is_pca(beta):
    x = gaussian([4.0, 2.0, 0.09, 0.09, 0.09, 0.09], n=12)  # the loss knows second moments only
    torch.manual_seed(0)
    flow = partial(FreeFormFlow, latent_features=2, encoder=Encoder, decoder=Decoder, prior=Normal)
    volume = FreeFormVolume(probes=2)
    model = FreeFormModule(flow, 6, volume=volume, reconstruction=beta).double()
    fit(model, x, rate=0.1, steps=3000)
    f, g = model.flow.encoder.weight.detach(), model.flow.decoder.weight.detach()
    torch.testing.assert_close(f @ g, torch.eye(2).double(), rtol=0, atol=0.02)
    latents = x @ f.T
    covariance = latents.T @ latents / len(x)
    torch.testing.assert_close(covariance, torch.eye(2).double(), rtol=0, atol=0.03)
    principal = torch.linalg.eigh(x.T @ x / len(x)).eigenvectors[:, -2:]
    cosines = torch.linalg.svdvals(principal.T @ torch.linalg.qr(g).Q)
    assert cosines.min() > 0.999


def test_the_ambient_density_of_a_gaussian_is_its_own():
    # orthogonal linear projection, unit-variance latents, matched β: probabilistic PCA
    variances = [4.0, 2.0, 0.09, 0.09]
    x = gaussian(variances, n=2000)
    covariance = x.T @ x / len(x)
    values, vectors = torch.linalg.eigh(covariance)
    flow = FreeFormFlow(4, latent_features=2, encoder=Encoder, decoder=Decoder, prior=Normal)
    flow = flow.double()
    scales = values[-2:].sqrt()
    with torch.no_grad():
        flow.encoder.weight.copy_((vectors[:, -2:] / scales).T)
        flow.decoder.weight.copy_(vectors[:, -2:] * scales)
    true = torch.distributions.MultivariateNormal(torch.zeros(4).double(), covariance)
    ambient = flow.ambient_log_prob(x, beta=1 / (2 * 0.09))
    torch.testing.assert_close(ambient, true.log_prob(x), rtol=0, atol=1e-6)


def test_the_ambient_density_has_mass_at_most_one():
    # a flat fibre through every point of a gently curved line: y ↦ (u, s(u)) with u = x₁
    class Graph(nn.Module):
        def __init__(self, event_shape, features):
            super().__init__()

        def forward(self, u):
            return torch.cat([u, 0.5 * torch.sin(u)], 1)

    class First(nn.Module):
        def __init__(self, event_shape, features):
            super().__init__()

        def forward(self, x):
            return x[:, :1]

    flow = FreeFormFlow(2, latent_features=1, encoder=First, decoder=Graph, prior=Normal).double()
    axis = torch.linspace(-7, 7, 600, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        mass = flow.ambient_log_prob(grid, beta=3.0).exp().sum() * (axis[1] - axis[0]) ** 2
    assert abs(mass - 1) < 1e-3

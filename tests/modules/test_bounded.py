"""Objectives that no parameters take below the data's entropy: values, bounds, the linear case."""

import copy
import math
from functools import partial

import pytest
import torch
from torch import nn

from lightning_flows import (
    AnnealedScale,
    ComposedFlow,
    DiagonalPosterior,
    FreeFormFlow,
    FreeFormModule,
    ImpliedPosterior,
    LearnedScale,
    Normal,
    OffManifoldModule,
    PaddedFlow,
    RealNVP,
    Scale,
    VariationalModule,
)
from lightning_flows.core.errors import ConfigError
from lightning_flows.nets import MLP
from lightning_flows.transforms import ElementwiseAffine, Orthogonal, Standardize

SIGMA = 0.3  # noise of the sine


def sine(n, generator):
    """(t, sin 1.7t) with t ~ N(0, 1), and noise of standard deviation SIGMA, as `Toy` has it."""
    t = torch.randn(n, generator=generator, dtype=torch.float64)
    clean = torch.stack([t, (1.7 * t).sin()], 1)
    return clean + SIGMA * torch.randn(n, 2, generator=generator, dtype=torch.float64)


def log_density_of_sine(x):
    """By quadrature over t."""
    t = torch.linspace(-7, 7, 1401, dtype=torch.float64)
    normal = torch.distributions.Normal(0.0, 1.0)
    terms = normal.log_prob(t) + math.log(t[1] - t[0])
    first = torch.distributions.Normal(t, SIGMA).log_prob(x[:, :1])
    second = torch.distributions.Normal((1.7 * t).sin(), SIGMA).log_prob(x[:, 1:])
    return (terms + first + second).logsumexp(1)


def test_the_sine_has_the_entropy_that_the_page_names():
    found = -log_density_of_sine(sine(20_000, torch.Generator().manual_seed(1)))
    assert found.mean().item() == pytest.approx(2.032, abs=3 * found.std().item() / 20_000**0.5)


def padded(scale, **options):
    flow = partial(
        PaddedFlow,
        latent_features=1,
        ambient=partial(RealNVP, layers=4, hidden=(16,), mixing="lu"),
        prior=partial(RealNVP, layers=2, hidden=(8,)),
    )
    return OffManifoldModule(flow, 2, scale=scale, **options).double().eval()


def free(scale, **options):
    flow = partial(FreeFormFlow, latent_features=1, prior=Normal)
    return VariationalModule(flow, 2, scale=scale, **options).double().eval()


@torch.no_grad()
def shaken(module, by, seed):
    """Parameters drawn anew around their start, at `by` times their usual size."""
    generator = torch.Generator().manual_seed(seed)
    for p in module.flow.parameters():
        p.add_(by * 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return module


@pytest.mark.parametrize("by", [1, 5, 30])
@pytest.mark.parametrize("scale", [0.05, 0.3, 3.0])
@pytest.mark.parametrize("family", [padded, free])
def test_no_parameters_take_the_loss_below_the_entropy(family, scale, by):
    x = sine(1000, torch.Generator().manual_seed(0))
    log_p = log_density_of_sine(x)
    for seed in range(3):
        module = shaken(family(scale), by, seed)
        with torch.no_grad():
            loss = module.evaluate(x, None)["loss"]
        over = loss + log_p  # its mean is a Kullback-Leibler divergence, or more
        sound = over[over.isfinite()]
        assert not over.isnan().any() or family is free
        assert sound.mean() > -3 * sound.std() / len(sound) ** 0.5


@pytest.mark.parametrize("by", [1, 5])
def test_off_manifold_density_has_mass_one(by):
    module = shaken(padded(LearnedScale(0.7)), by, seed=3)
    at = torch.linspace(-12, 12, 601, dtype=torch.float64)
    x = torch.cartesian_prod(at, at)
    with torch.no_grad():
        mass = module.ambient_log_prob(x).exp().sum() * (at[1] - at[0]) ** 2
    assert mass == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("coordinates", [1, 3])
def test_off_manifold_density_is_that_of_its_coordinates(coordinates):
    ambient = partial(RealNVP, layers=4, hidden=(16,), mixing="lu")
    flow = partial(PaddedFlow, latent_features=2, ambient=ambient)
    scale = LearnedScale(0.7, coordinates=coordinates)
    module = shaken(OffManifoldModule(flow, 5, scale=scale).double().eval(), 2, seed=1)
    module.scale.log_excess.data += torch.arange(coordinates) * 0.5
    flow, x = module.flow, torch.randn(6, 5, dtype=torch.float64)
    full = torch.stack(
        [
            torch.autograd.functional.jacobian(lambda row: flow.ambient(row[None])[0][0], row)
            for row in x
        ]
    )
    latent = flow.ambient(x)[0]
    on = flow.project(x)
    rest = flow.order.argsort()[2:]  # every place that is none of the manifold's, once
    assert sorted([*flow.slots.tolist(), *rest.tolist()]) == list(range(5))
    tau = module.scale().expand(3)
    normal = torch.distributions.Normal(0.0, tau).log_prob(latent[:, rest]).sum(1)
    expected = flow.prior.log_prob(on) + normal + full.det().abs().log()
    torch.testing.assert_close(module.ambient_log_prob(x), expected)
    torch.testing.assert_close(-module.training_loss(x, None)[0], expected)
    # deflated: the density on the manifold is that of every injective flow
    torch.testing.assert_close(module.log_prob(x), flow.log_prob(flow.embed(on)))


@pytest.mark.parametrize("by", [1, 5, 30])
@pytest.mark.parametrize("family", [padded, free])
def test_single_precision_gives_no_loss_below_what_double_precision_gives(family, by):
    x = sine(200, torch.Generator().manual_seed(2))
    module = shaken(family(0.3), by, seed=5)
    with torch.no_grad():
        exact = module.objective_nll(x)
        single = copy.deepcopy(module).float()
        found = single.objective_nll(x.float()).double()
    assert not found.isnan().any()
    # found is +inf where single precision overflows, as losses of 1e60 do
    below = (exact - found) / exact.abs().clamp(min=1)
    # a decoder at scale 5 magnifies the rounding of its latents, in one row of some hundred
    assert below.max() <= 0.05
    assert (below > 1e-3).double().mean() <= 0.01
    if by == 1:
        torch.testing.assert_close(found, exact, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", [padded, free])
def test_scores_in_data_units_hold_the_preprocessing(family):
    module = shaken(family(0.5), 1, seed=2)
    x = torch.randn(40, 2, dtype=torch.float64) * 5 + 3
    plain = module.evaluate(x / 5, None)
    module.preprocess = Standardize(2).double()
    module.preprocess.mean.zero_()
    module.preprocess.std.fill_(5.0)
    scaled = module.evaluate(x, None)
    name = "ambient_nll" if family is padded else "ambient_elbo"
    assert {key for key in scaled if key.startswith("ambient")} == {name}
    sign = 1 if family is padded else -1
    if family is padded:  # a draw is a hash of data as it comes, so only the exact one is equal
        torch.testing.assert_close(sign * scaled[name], sign * plain[name] + 2 * math.log(5))
        torch.testing.assert_close(scaled["loss"], plain["loss"])
    torch.testing.assert_close(module.objective_nll(x), sign * scaled[name])


def test_the_implied_posterior_is_a_gaussian_with_the_encoders_jacobian():
    torch.manual_seed(0)
    encoder, decoder = MLP(4, 2, hidden=(8,)).double(), MLP(2, 4, hidden=(8,)).double()
    x = torch.randn(1, 4, dtype=torch.float64)
    sigma = torch.tensor([0.2], dtype=torch.float64)
    drawn = ImpliedPosterior()(encoder, decoder, x.expand(20000, -1), sigma)
    j = torch.autograd.functional.jacobian(encoder, x)[0, :, 0]
    covariance = 0.04 * j @ j.T
    posterior = torch.distributions.MultivariateNormal(encoder(x)[0], covariance)
    torch.testing.assert_close(drawn.entropy[0], posterior.entropy())
    torch.testing.assert_close(drawn.z.T.cov(), covariance, rtol=0.05, atol=1e-5)
    torch.testing.assert_close(drawn.x_hat, decoder(drawn.z))


def test_the_surrogate_has_the_gradient_of_the_entropy_where_the_decoder_inverts_the_encoder():
    torch.manual_seed(0)
    a = nn.Parameter(torch.randn(3, 3, dtype=torch.float64))

    def encode(x):
        return x @ a.T

    def decode(z):
        return z @ torch.linalg.inv(a.detach()).T

    x = torch.randn(200_000, 3, dtype=torch.float64)
    sigma = torch.ones(1, dtype=torch.float64)
    drawn = ImpliedPosterior("surrogate").steer(encode, decode, x, sigma)
    (found,) = torch.autograd.grad(drawn.entropy.mean(), a)
    torch.testing.assert_close(found, torch.linalg.inv(a.detach()).T, rtol=0.03, atol=0.03)


SPECTRUM = torch.tensor([4.0, 2.0, 0.5, 0.3, 0.1], dtype=torch.float64)


def with_covariance(n, seed):
    """Data whose covariance has SPECTRUM exactly, its axes, and the fit of PPCA with d = 2."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 5, generator=generator, dtype=torch.float64)
    x = torch.linalg.qr(x - x.mean(0)).Q * n**0.5
    axes = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64)).Q
    return (x * SPECTRUM.sqrt()) @ axes.T, axes


def minimize(module, loss, steps=60):
    optimizer = torch.optim.LBFGS(
        module.trained_parameters(), max_iter=steps * 10, line_search_fn="strong_wolfe",
        tolerance_grad=1e-9, tolerance_change=1e-14, history_size=50,
    )  # fmt: skip

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)


def degrees(found, axes):
    """Largest angle between two planes, the columns of two matrices."""
    cosine = torch.linalg.svdvals(torch.linalg.qr(found).Q.T @ axes).min()
    return math.degrees(math.acos(min(1.0, cosine)))


def test_linear_off_manifold_flow_is_probabilistic_pca():
    """With a rotation in data space and scales on the manifold: Tipping and Bishop 1999."""
    torch.manual_seed(1)
    x, axes = with_covariance(400, seed=0)
    flow = partial(
        PaddedFlow,
        latent_features=2,
        ambient=partial(ComposedFlow, layers=[Orthogonal]),
        prior=partial(ComposedFlow, layers=[ElementwiseAffine]),
    )
    module = OffManifoldModule(flow, 5, scale=LearnedScale(1.0, floor=0.0)).double()
    minimize(module, lambda: module.training_loss(x, None)[0].mean())
    assert module.scale().item() ** 2 == pytest.approx(SPECTRUM[2:].mean().item(), rel=1e-3)
    on = module.flow.embed(torch.eye(2, dtype=torch.float64)) - module.flow.embed(
        torch.zeros(1, 2, dtype=torch.float64)
    )
    assert degrees(on.detach().T, axes[:, :2]) < 1
    fitted = torch.cat([SPECTRUM[:2], SPECTRUM[2:].mean().expand(3)])
    entropy = 0.5 * (fitted.log().sum() + 5 * math.log(2 * math.pi) + 5)
    assert module.training_loss(x, None)[0].mean().item() == pytest.approx(entropy.item(), abs=1e-4)


def test_scales_start_where_they_are_told_and_stay_above_their_floor():
    learned = LearnedScale(0.5, floor=0.1, coordinates=3)
    torch.testing.assert_close(learned(), torch.full((3,), 0.5))
    learned.log_excess.data.fill_(-100.0)
    torch.testing.assert_close(learned(), torch.full((3,), 0.1))
    annealed = AnnealedScale(1.0, 0.01, epochs=4)
    found = []
    for epoch in range(6):
        annealed.follow(epoch)
        found.append(annealed().item())
    assert found == pytest.approx([1.0, 10**-0.5, 0.1, 10**-1.5, 0.01, 0.01])
    assert annealed.scoring().item() == pytest.approx(0.01)
    again = AnnealedScale(1.0, 0.01, epochs=4)
    again.load_state_dict(annealed.state_dict())
    assert again().item() == pytest.approx(0.01)
    assert Scale(0.2).scoring().item() == pytest.approx(0.2)


def test_what_is_out_of_range_is_refused():
    with pytest.raises(ConfigError, match=r"PaddedFlow.*VariationalModule"):
        OffManifoldModule(partial(FreeFormFlow, latent_features=1), 2)
    with pytest.raises(ConfigError, match=r"3 coordinates; OffManifoldModule takes 1 and 4 here"):
        OffManifoldModule(
            partial(PaddedFlow, latent_features=2), 6, scale=LearnedScale(coordinates=3)
        )
    with pytest.raises(ConfigError, match=r"2 coordinates; VariationalModule takes 1 here"):
        VariationalModule(
            partial(FreeFormFlow, latent_features=2), 6, scale=LearnedScale(coordinates=2)
        )
    with pytest.raises(ConfigError, match=r"start - floor"):
        LearnedScale(0.1, floor=0.2)
    with pytest.raises(ConfigError, match=r"gradient is 'exakt'"):
        ImpliedPosterior("exakt")


def test_the_joint_objective_is_scored_with_the_constant_of_its_residuals():
    flow = partial(FreeFormFlow, latent_features=1, prior=Normal)
    module = shaken(FreeFormModule(flow, 2, reconstruction=1.0).double().eval(), 2, seed=0)
    x = torch.randn(20, 2, dtype=torch.float64)
    values = module.evaluate(x, None)
    constant = -0.5 * math.log(1 / math.pi)
    torch.testing.assert_close(module.objective_nll(x), values["loss"] + constant)


class Linear(nn.Module):
    def __init__(self, event_shape, features, *, decode):
        super().__init__()
        sizes = (features, event_shape[0]) if decode else (event_shape[0], features)
        self.map = nn.Linear(*sizes, bias=False)

    def forward(self, x):
        return self.map(x)


class Constant(nn.Module):
    def __init__(self, features, latents):
        super().__init__()
        self.value = nn.Parameter(torch.zeros(latents))

    def forward(self, x):
        return self.value.expand(len(x), -1)


def linear_loss(a, w, variance, covariance):
    """Expected loss of encoder A and decoder W over normal data, in closed form."""
    n, d = w.shape
    spread = covariance + variance * torch.eye(n, dtype=torch.float64)
    error = (
        covariance.trace() - 2 * (w @ a @ covariance).trace() + (w @ a @ spread @ a.T @ w.T).trace()
    )
    prior = 0.5 * (a @ spread @ a.T).trace() + 0.5 * d * math.log(2 * math.pi)
    entropy = 0.5 * torch.logdet(2 * math.pi * math.e * variance * a @ a.T)
    return error / (2 * variance) + 0.5 * n * (2 * math.pi * variance).log() + prior - entropy


def test_the_linear_bound_has_its_closed_form_and_is_near_probabilistic_pca():
    """The bound is not tight: mean and covariance of the posterior share one matrix."""
    torch.manual_seed(2)
    covariance = torch.diag(SPECTRUM)
    flow = partial(
        FreeFormFlow,
        latent_features=2,
        encoder=partial(Linear, decode=False),
        decoder=partial(Linear, decode=True),
        prior=Normal,
    )
    module = VariationalModule(flow, 5, scale=LearnedScale(0.8, floor=0.0)).double()
    a, w = module.flow.encoder.map.weight, module.flow.decoder.map.weight

    def loss():
        return linear_loss(a, w, module.scale().squeeze() ** 2, covariance)

    x = torch.randn(200_000, 5, dtype=torch.float64) * SPECTRUM.sqrt()
    found = module.training_loss(x, None)[0]
    error = (found.std() / len(x) ** 0.5).item()
    assert found.mean().item() == pytest.approx(loss().item(), abs=4 * error)
    for _ in range(3):
        minimize(module, loss)
    assert degrees(w.detach(), torch.eye(5, dtype=torch.float64)[:, :2]) < 1
    assert module.scale().item() ** 2 == pytest.approx(SPECTRUM[2:].mean().item(), rel=0.01)
    fitted = torch.cat([SPECTRUM[:2], SPECTRUM[2:].mean().expand(3)])
    best = 0.5 * (fitted.log().sum() + 5 * math.log(2 * math.pi) + 5).item()
    assert 0.004 < loss().item() - best < 0.008


def test_the_linear_bound_with_a_diagonal_posterior_is_tight():
    """Its minimum is the likelihood of probabilistic PCA: Lucas et al. 2019."""
    torch.manual_seed(2)
    flow = partial(
        FreeFormFlow,
        latent_features=2,
        encoder=partial(Linear, decode=False),
        decoder=partial(Linear, decode=True),
        prior=Normal,
    )
    module = VariationalModule(
        flow, 5, scale=LearnedScale(0.8, floor=0.0), posterior=DiagonalPosterior(Constant)
    ).double()
    a, w = module.flow.encoder.map.weight, module.flow.decoder.map.weight
    h = module.posterior.net.value
    covariance = torch.diag(SPECTRUM)

    def loss():
        sigma = module.scale().squeeze()
        posterior = torch.diag((sigma * h.exp()).square())
        rest = torch.eye(5, dtype=torch.float64) - w @ a
        error = (rest @ covariance @ rest.T).trace() + (w @ posterior @ w.T).trace()
        prior = (a @ covariance @ a.T + posterior).trace() / 2 + math.log(2 * math.pi)
        entropy = torch.logdet(2 * math.pi * math.e * posterior) / 2
        normal = 2.5 * (2 * math.pi * sigma**2).log()
        return error / (2 * sigma**2) + normal + prior - entropy

    x = torch.randn(200_000, 5, dtype=torch.float64) * SPECTRUM.sqrt()
    found = module.training_loss(x, None)[0]
    error = (found.std() / len(x) ** 0.5).item()
    assert found.mean().item() == pytest.approx(loss().item(), abs=4 * error)
    for _ in range(3):
        minimize(module, loss)
    assert degrees(w.detach(), torch.eye(5, dtype=torch.float64)[:, :2]) < 1
    assert module.scale().item() ** 2 == pytest.approx(SPECTRUM[2:].mean().item(), rel=1e-3)
    fitted = torch.cat([SPECTRUM[:2], SPECTRUM[2:].mean().expand(3)])
    best = 0.5 * (fitted.log().sum() + 5 * math.log(2 * math.pi) + 5).item()
    assert loss().item() == pytest.approx(best, abs=1e-5)
    inner = w.T @ w + module.scale() ** 2 * torch.eye(2, dtype=torch.float64)
    covered = (module.scale() * h.exp()).square()  # σ²(WᵀW + σ²I)⁻¹, the exact posterior
    expected = module.scale() ** 2 * torch.linalg.inv(inner)
    torch.testing.assert_close(torch.diag(covered), expected, rtol=0.01, atol=1e-3)


@pytest.mark.parametrize("gradient", ["exact", "surrogate"])
def test_a_training_loss_can_be_had_without_a_graph(gradient):
    module, x = free(0.5, posterior=ImpliedPosterior(gradient)), torch.randn(9, 2).double()

    def loss():
        torch.manual_seed(0)
        return module.training_loss(x, None)[0]

    expected = loss()
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            torch.testing.assert_close(loss(), expected.detach())

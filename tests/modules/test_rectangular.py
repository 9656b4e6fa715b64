"""RectangularModule: exact densities on manifolds, warm-up, and that it learns."""

import math
from functools import partial

import pytest
import torch
from lightning.pytorch import Callback
from torch.func import jacrev, vmap

from lightning_flows import (
    Chain,
    ExactVolume,
    Isometry,
    PaddedFlow,
    RealNVP,
    RectangularModule,
    StochasticVolume,
    Tikhonov,
)
from lightning_flows.core.errors import ConfigError
from lightning_flows.datamodules import Arrays, Digits, Toy
from lightning_flows.objectives import FreeFormVolume, NoVolume, PrincipalVolume, Volume
from lightning_flows.transforms import Logit
from lightning_flows.transforms.bijections.standardize import Standardize

AMBIENT = partial(RealNVP, layers=4, hidden=(8,), activation="tanh")
PRIOR = partial(RealNVP, layers=2, hidden=(8,), activation="tanh")


def padded(latent_features=2):
    return partial(PaddedFlow, latent_features=latent_features, ambient=AMBIENT, prior=PRIOR)


def scrambled(model, seed=3):
    """Away from the identity that flows start as."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture
def model():
    """With a preprocessing that is not linear, in double precision."""
    model = scrambled(RectangularModule(padded(), 5, reconstruction=3.0)).double()
    model.preprocess = Chain([Logit(5), Standardize(5)]).double()
    model.preprocess.transforms[1].std.copy_(torch.linspace(0.5, 3, 5))
    model.preprocess.transforms[1].mean.copy_(torch.linspace(-1, 1, 5))
    return model


def data(n=6):
    generator = torch.Generator().manual_seed(5)
    return 0.1 + 0.8 * torch.rand(n, 5, dtype=torch.float64, generator=generator)


def half_log_det(decode, u):
    """Autograd's, row by row."""
    j = vmap(jacrev(lambda u: decode(u[None])[0]))(u)
    return 0.5 * torch.logdet(j.mT @ j)


def test_the_volume_is_autograds_in_the_units_of_the_data(model):
    x = data()
    u = model.flow.project(model.preprocess.encode(x)[0])
    # the whole map from latents to data, so with the prior's own flow in front
    z = model.encode(x)
    whole = half_log_det(model.decode, z)
    base = model.flow.prior.base.log_prob(z)
    torch.testing.assert_close(model.log_prob(x), base - whole, rtol=0, atol=1e-8)

    values = model.evaluate(x, None)
    volume = half_log_det(lambda u: model.preprocess.decode(model.flow.embed(u))[0], u)
    torch.testing.assert_close(values["log_volume"], volume, rtol=0, atol=1e-8)
    torch.testing.assert_close(values["nll"], -model.log_prob(x), rtol=0, atol=1e-12)
    y = model.preprocess.encode(x)[0]
    squared = (y - model.flow.embed(u)).square().sum(1)
    torch.testing.assert_close(values["reconstruction"], squared)
    # the objective is that of preprocessed data, as in training
    objective = half_log_det(model.flow.embed, u) - model.flow.prior.log_prob(u) + 3.0 * squared
    torch.testing.assert_close(values["loss"], objective)


def test_projections_lie_on_the_manifold_and_have_the_density_of_their_points(model):
    x = data()
    on = model.reconstruct(x)
    torch.testing.assert_close(on, model.decode(model.encode(x)))
    torch.testing.assert_close(model.reconstruct(on), on)
    torch.testing.assert_close(model.log_prob(on), model.log_prob(x))
    assert (on - x).abs().max() > 0.01


@pytest.mark.parametrize("volume", [ExactVolume(), StochasticVolume(4)])
def test_the_training_loss_is_the_objective(model, volume):
    model.volume = volume
    x = data()
    y = model.preprocess.encode(x)[0]
    u = model.flow.project(y)
    exact = half_log_det(model.flow.embed, u)
    squared = (y - model.flow.embed(u)).square().sum(1)
    losses, parts = model.training_loss(x, None)
    expected = exact - model.flow.prior.log_prob(u) + 3.0 * squared
    torch.testing.assert_close(losses, expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(parts["log_volume"], exact.mean(), rtol=0, atol=1e-8)
    torch.testing.assert_close(parts["reconstruction"], squared)


def test_the_density_on_a_closed_curve_has_mass_one():
    # d = 1: the curve is traced by its latent, so the mass is an integral over arc length
    torch.manual_seed(2)
    model = scrambled(RectangularModule(padded(1), 5)).double()
    model.preprocess = Standardize(5).double()
    model.preprocess.std.copy_(torch.linspace(0.5, 3, 5))
    z = torch.linspace(-6, 6, 4001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        points = model.decode(z)
        lengths = (points[1:] - points[:-1]).norm(dim=1)
        density = model.log_prob((points[1:] + points[:-1]) / 2).exp()
    assert abs((density * lengths).sum() - 1) < 1e-3


class Watch(Callback):
    """Remembers weight, volume and gradients of every step."""

    def __init__(self):
        self.weights, self.missing, self.calls = [], [], []

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.weights.append(module.likelihood_weight)
        self.missing += [name for name, p in module.named_parameters() if p.grad is None]
        self.calls.append(module.volume.calls)


class Counted(ExactVolume):
    calls = 0

    def __call__(self, encode, decode, x):
        self.calls += 1
        return super().__call__(encode, decode, x)


def test_warm_up(make_trainer):
    watch = Watch()
    flow = partial(padded(1), ambient=partial(AMBIENT, actnorm=True))
    model = RectangularModule(flow, 2, warmup=(1, 5), volume=Counted())
    trainer = make_trainer(max_epochs=7, callbacks=[watch], limit_val_batches=1)
    trainer.fit(model, Toy("von_mises_circle", n_train=50, n_val=50, batch_size=50))
    assert watch.weights == [0, 0, 0.25, 0.5, 0.75, 1, 1]
    assert watch.calls == [0, 0, 1, 2, 3, 4, 5]
    assert watch.missing == []
    assert trainer.callback_metrics["val/log_volume"].isfinite()


@pytest.mark.parametrize("warmup", [(-1, 2), (3, 2)])
def test_warm_ups_out_of_order_are_refused(warmup):
    with pytest.raises(ConfigError, match=r"warmup is \[.*two epochs in order"):
        RectangularModule(padded(), 5, warmup=warmup)


@pytest.mark.parametrize("beta", [0.0, -1.0, math.nan])
def test_beta_is_positive(beta):
    with pytest.raises(ConfigError, match=r"beta is .*; accepted are positive numbers"):
        RectangularModule(padded(), 5, reconstruction=beta)


@pytest.mark.parametrize("latent_features", [0, 5, 6])
def test_a_manifold_has_fewer_dimensions_than_data(latent_features):
    with pytest.raises(ConfigError, match=r"data has 5 dimensions, so accepted are 1 to 4"):
        RectangularModule(padded(latent_features), 5)


def test_a_noisy_sine_is_learned(make_trainer):
    torch.manual_seed(0)
    t = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    clean = torch.stack([2 * t, (2 * t).sin()], 1)
    x = clean + 0.05 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    model = RectangularModule(
        partial(
            PaddedFlow,
            latent_features=1,
            ambient=partial(RealNVP, layers=4, hidden=(32,), activation="silu"),
            prior=PRIOR,
        ),
        2,
        reconstruction=50.0,
        warmup=(2, 4),
        optimizer=partial(torch.optim.Adam, lr=1e-2),
    )
    trainer = make_trainer(max_epochs=12, gradient_clip_val=10)
    trainer.fit(model, Arrays(data=x, standardize=False, batch_size=256))
    model.eval()
    with torch.no_grad():
        residual = (model.reconstruct(x) - x).square().sum(1).mean().sqrt()
        log_prob = model.log_prob(clean)
    assert residual < 0.25  # of data that scatters by 2.2
    speed = (1 + (2 * t).cos().square()).sqrt() * 2
    true = -0.5 * t.square() - 0.5 * math.log(2 * math.pi) - speed.log()
    assert (log_prob - true).mean().abs() < 0.15
    assert (log_prob - true).abs().mean() < 0.2


def test_images_have_no_bits_per_dimension_on_a_manifold(make_trainer):
    data = Digits(batch_size=64)
    model = RectangularModule(partial(PaddedFlow, latent_features=2, ambient=AMBIENT), (1, 8, 8))
    trainer = make_trainer(limit_train_batches=1, limit_val_batches=1)
    trainer.fit(model, data)
    assert not [name for name in trainer.callback_metrics if "bits" in name]
    assert "val/nll" in trainer.callback_metrics


class Watched(StochasticVolume):
    """Keeps what it has found."""

    def __init__(self, **options):
        super().__init__(**options)
        self.found = []

    def __call__(self, encode, decode, x):
        self.found.append(super().__call__(encode, decode, x))
        return self.found[-1]


def test_conjugate_gradients_report_what_they_did(make_trainer):
    flow = partial(PaddedFlow, latent_features=6, ambient=AMBIENT, prior=PRIOR)
    volume = Watched(direct=5, tolerance=1e-3)
    model = RectangularModule(flow, 8, volume=volume)
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(1))
    trainer = make_trainer(limit_val_batches=0)
    trainer.fit(model, Arrays(data=x, standardize=False, batch_size=16))
    logged, solution = trainer.callback_metrics, volume.found[-1].solution
    assert logged["train/cg/iterations"] == solution.iterations > 1
    assert logged["train/cg/residual"] == solution.residuals.max() < 1e-2
    assert "train/log_volume" not in logged  # unknown: only its gradient is


class Wounded(Volume):
    """Fails where the latent lies below a limit, as a cusp there would."""

    def __init__(self, volume, limit):
        self.volume = volume
        self.measures = volume.measures
        self.limit = limit

    def __call__(self, encode, decode, x):
        def wounded(u):
            distance = torch.where(u < self.limit, u - u.detach(), 1.0)  # 0, with a slope, or 1
            return decode(u) + distance.abs().sqrt() - distance.detach()

        return self.volume(encode, wounded, x)


@pytest.mark.parametrize(
    "volume",
    [ExactVolume(), PrincipalVolume(), StochasticVolume(), FreeFormVolume(target="decoder")],
    ids=["exact", "principal", "stochastic", "free-form"],
)
def test_samples_without_a_volume_are_counted_and_keep_their_reconstruction(volume, make_trainer):
    x = data(8).float()
    penalties = [Tikhonov(0.1, probes=None)]
    still = partial(torch.optim.SGD, lr=1e-9)  # no sample moves across the limit
    model = scrambled(
        RectangularModule(padded(1), 5, volume=volume, penalties=penalties, optimizer=still)
    )
    expected, whole = model.training_loss(x, None)
    u = model.flow.project(x).detach()
    model.volume = Wounded(volume, limit=u.sort(0).values[1:3].mean().item())
    losses, parts = model.training_loss(x, None)
    failed = u[:, 0] < model.volume.limit
    torch.testing.assert_close(losses[~failed], expected[~failed])
    rest = 50 * whole["reconstruction"] - model.flow.prior.log_prob(u)
    torch.testing.assert_close(losses[failed], rest[failed])
    if volume.measures:
        sound = volume(model.flow.project, model.flow.embed, x).log_volume[~failed]
        torch.testing.assert_close(parts["log_volume"], sound.mean())

    trainer = make_trainer(limit_val_batches=0)
    trainer.fit(model, Arrays(data=x, standardize=False, batch_size=4, validation=0, test=0))
    assert trainer.callback_metrics["train/volume/failed"] == 2 + 2  # above, and in the epoch
    assert all(p.isfinite().all() for p in model.parameters())


class FailsAtTheSecond(Tikhonov):
    """Is not finite at the second sample."""

    def __call__(self, encode, decode, x, embedded):
        value = super().__call__(encode, decode, x, embedded)
        return torch.where(torch.arange(len(x)) == 1, torch.nan, value)


@pytest.mark.parametrize("volume", [ExactVolume(), FreeFormVolume(), NoVolume()])
def test_samples_without_a_penalty_are_counted_and_keep_their_reconstruction(volume, make_trainer):
    penalties = [FailsAtTheSecond(0.1, probes=None), Tikhonov(0.2, probes=None)]
    model = scrambled(RectangularModule(padded(1), 5, volume=volume, penalties=penalties))
    x = data(8).float()
    losses, parts = model.training_loss(x, None)
    rest = 50 * parts["reconstruction"] - model.flow.prior.log_prob(model.flow.project(x))
    torch.testing.assert_close(losses[1], rest[1])
    assert (parts["penalty/tikhonov_2"] > 0).tolist() == [True, False] + [True] * 6
    trainer = make_trainer(limit_val_batches=0)
    trainer.fit(model, Arrays(data=x, standardize=False, batch_size=4, validation=0, test=0))
    assert trainer.callback_metrics["train/volume/failed"] == 1 + 2  # above, and in the epoch


def test_penalties_of_one_kind_are_logged_side_by_side(model):
    model.penalties = [Tikhonov(0.1), Tikhonov(0.2, probes=None), Isometry(0.3), Tikhonov(0.4)]
    _, parts = model.training_loss(data(), None)
    names = {name.partition("/")[2] for name in parts if name.startswith("penalty/")}
    assert names == {"tikhonov", "tikhonov_2", "isometry", "tikhonov_3"}

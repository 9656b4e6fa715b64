"""Training on unnormalized targets: gradients, evidences, paths of targets, what is refused."""

import math
from functools import partial

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_flows import (
    ComposedFlow,
    EnergyModule,
    FreeFormFlow,
    LatentPriorFlow,
    Normal,
    NormalMixture,
    PaddedFlow,
    RealNVP,
    Uniform,
    load,
)
from lightning_flows.bases import normal
from lightning_flows.core.errors import ConfigError, DataError, ShapeError
from lightning_flows.core.noise import Placed
from lightning_flows.datamodules import Digits, Draws
from lightning_flows.metrics import effective_sample_size, log_evidence
from lightning_flows.targets import (
    Banana,
    CorrelatedNormal,
    NormalPosterior,
    Ring,
    TorchDistribution,
)
from lightning_flows.transforms import Abs, InverseOf, Slice, Softplus
from proofs.common import near, same

pytestmark = pytest.mark.filterwarnings("ignore:.*(val_dataloader|exists and is not empty)")
SMALL = partial(RealNVP, layers=2, hidden=(8,))
POSTERIORS = {"contexts": Uniform(1, low=-2.0, high=1.0)}


class Quartic(nn.Module):
    """A target of one's own, with a weight; it takes no context."""

    def __init__(self, power: float = 4.0) -> None:
        super().__init__()
        self.power = power
        self.weight = nn.Parameter(torch.tensor(0.5))

    def log_prob(self, x):
        return -(self.weight * x.abs() ** self.power).sum(1)


class Column(Quartic):
    def log_prob(self, x):
        return -x[:, :1]


class Broken(Quartic):
    def log_prob(self, x):
        return torch.where(x[:, 0] > 0, torch.nan, x[:, 0])


class Given(nn.Module):
    """Normals around the context."""

    def log_prob(self, x, context=None):
        return -0.5 * (x - context).square().sum(1)


def test_the_gradient_is_that_of_the_divergence_of_normals(monkeypatch):
    """The loss is quadratic in the noise: points with its moments give the expectation itself."""
    rows = math.sqrt(2) * torch.eye(2).double()
    monkeypatch.setattr(normal, "normal_noise", lambda shape, like: torch.cat([rows, -rows]))
    covariance, loc = torch.tensor([[2.0, 0.6], [0.6, 0.5]]).double(), torch.tensor([1.0, -2.0])
    target = CorrelatedNormal(covariance.tolist(), loc=loc.tolist())
    for temperature in (1.0, 2.5):
        flow = partial(Normal, learned=True, loc=0.3, scale=0.7)
        model = EnergyModule(flow, 2, target=target, samples=4, temperature=temperature).double()
        (loss,), _ = model.training_loss(torch.zeros(1, 2), None)
        mean, log_scale = (p.detach().requires_grad_() for p in model.flow.parameters())
        precision, away = covariance.inverse(), mean - loc
        energy = precision.diagonal() @ (2 * log_scale).exp() + away @ precision @ away
        expected = energy / (2 * temperature) - log_scale.sum() - 1 - math.log(2 * math.pi)
        near(loss, expected, 1e-6)
        gradients = torch.autograd.grad(loss, [*model.flow.parameters()])
        near(gradients, torch.autograd.grad(expected, [mean, log_scale]), 1e-6)


def fitted(make_trainer, model, data, epochs, **options):
    pl.seed_everything(0, verbose=False)
    trainer = make_trainer(max_epochs=epochs, gradient_clip_val=5.0, **options)
    trainer.fit(model, data)
    return trainer


def adam(lr):
    return partial(torch.optim.Adam, lr=lr)


def test_learns_a_correlated_normal_and_its_evidence(make_trainer):
    target = CorrelatedNormal([[1.0, 0.8], [0.8, 1.0]], loc=[1.0, -1.0])
    torch.manual_seed(0)
    flow = partial(RealNVP, layers=4, hidden=(16,), activation="silu")
    model = EnergyModule(flow, 2, target=target, eval_samples=20, optimizer=adam(1e-2))
    data = Draws(Normal(2, scale=3.0), n_train=5120, n_val=200)
    trainer = fitted(make_trainer, model, data, 15)
    expected = target.log_evidence().item()
    torch.manual_seed(1)
    value, error = log_evidence(model.eval().log_weights(20_000))
    logged = trainer.callback_metrics
    assert abs(value - expected) < min(3 * error, 0.02)
    for found, spread in (
        (value, error),
        (logged["val/log_evidence"], logged["val/log_evidence_se"]),
    ):
        assert abs(found - expected) < min(3 * spread + 1e-3, 0.02)
    assert logged["val/elbo"] < expected + 3 * logged["val/elbo_se"]
    assert 0.9 < logged["val/ess"] <= 1
    near(logged["val/loss"], -logged["val/elbo"], 1e-5)


@pytest.mark.slow
def test_one_flow_learns_a_path_of_posteriors(make_trainer):
    torch.manual_seed(0)
    flow = partial(RealNVP, layers=4, hidden=(32, 32), activation="silu")
    target = NormalPosterior()
    scheduler = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=25)
    options = {"optimizer": adam(3e-3), "scheduler": scheduler}
    model = EnergyModule(flow, 2, 1, target=target, eval_samples=100, **options)
    data = Draws(Normal(2), n_train=12_800, n_val=200, **POSTERIORS)
    trainer = fitted(make_trainer, model, data, 25)
    context = torch.tensor([[-2.0], [-1.0], [0.0], [1.0]])
    torch.manual_seed(1)
    value, error = log_evidence(model.eval().log_weights(5000, context))
    expected = target.log_evidence(context)
    assert (error < 0.01).all()
    near(value, expected, 0.02)
    with torch.no_grad():
        x = model.sample(20_000, context)
    mean, covariance = target.moments(context)
    assert (x.mean(1) - mean).abs().max() < 0.05
    variances = covariance.diagonal(dim1=1, dim2=2)
    assert (x.var(1) - variances).abs().max() < 0.05
    given = data.val_dataloader().tensors["context"]
    whole = target.log_evidence(given).mean()
    assert abs(trainer.callback_metrics["val/log_evidence"] - whole) < 0.05
    assert trainer.callback_metrics["val/ess"] > 0.9


def test_figures_of_the_split_pool_all_draws(make_trainer):
    torch.manual_seed(0)
    model = EnergyModule(SMALL, 2, target=Banana(), eval_samples=5)
    data = Draws(Ring(), n_val=45, batch_size=45)
    found = make_trainer().validate(model, data, verbose=False)[0]
    data.setup()
    (batch,) = data.val_dataloader()
    with torch.no_grad(), Placed(torch.arange(45)):
        weights = model.eval()._evaluated(*model.unpack(batch))[1].flatten()
    value, error = log_evidence(weights)
    size = effective_sample_size(weights, fraction=True)
    expected = {"ess": size, "log_evidence": value, "log_evidence_se": error}
    for name, figure in expected.items():
        assert found[f"val/{name}"] == pytest.approx(float(figure), rel=1e-5)
    again = make_trainer().validate(model, Draws(Ring(), n_val=45, batch_size=7), verbose=False)[0]
    assert again == pytest.approx(found, rel=1e-5)


def test_the_temperature_falls_by_the_same_factor_in_each_step(make_trainer):
    model = EnergyModule(SMALL, 2, target=Ring(), temperature=(8.0, 0.5, 4))
    factors = [model.temperature_at(step) for step in range(6)]
    assert factors == pytest.approx([8, 4, 2, 1, 0.5, 0.5])
    seen = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            seen.append(float(trainer.callback_metrics["train/temperature"]))

    trainer = make_trainer(max_steps=3, limit_val_batches=0, callbacks=[Watch()])
    trainer.fit(model, Draws(Ring(), n_train=800))
    assert seen == pytest.approx([8, 4, 2])
    state = torch.get_rng_state()
    weights = model.log_weights(50)
    torch.set_rng_state(state)
    with torch.no_grad():  # at the last temperature
        x, log_q = model.flow.sample_and_log_prob(50)
        near(weights, Ring().log_prob(x) / 0.5 - log_q, 1e-5)


TARGETS = {
    "a part": Ring(3),
    "a class": Ring,
    "a partial": partial(Quartic, power=2.0),
    "of torch": TorchDistribution("Laplace", {"loc": [0.0, 1.0], "scale": [1.0, 2.0]}),
    "a density": NormalMixture(2, components=3, spread=4.0),
}


@pytest.mark.parametrize("name", TARGETS)
def test_a_checkpoint_alone_samples_the_same(make_trainer, tmp_path, name):
    torch.manual_seed(0)
    model = EnergyModule(partial(SMALL, actnorm=True), 2, target=TARGETS[name])
    data = Draws(Normal(2, scale=3.0), n_train=600, n_val=50, standardize=True)
    before = {name: p.clone() for name, p in model.target.state_dict().items()}
    trainer = make_trainer()
    trainer.fit(model, data)
    same(dict(model.target.state_dict()), before)  # it is not trained
    assert model.flow.transform.transforms[0].initialized
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    for again in (
        load(tmp_path / "x.ckpt"),
        EnergyModule.load_from_checkpoint(tmp_path / "x.ckpt"),
    ):
        for function in (lambda m: m.sample(9), lambda m: m.log_weights(9)):
            torch.manual_seed(3)
            expected = function(model.eval())
            torch.manual_seed(3)
            same(function(again.eval()), expected)


@pytest.mark.parametrize(
    "items",
    [
        TensorDataset(torch.randn(40, 2)),
        [{"context": row} for row in torch.randn(40, 2)],
        torch.randn(40, 2),
    ],
    ids=["tuple", "mapping", "tensor"],
)
def test_loaders_may_give_contexts_alone(make_trainer, items):
    torch.manual_seed(0)
    flow = partial(SMALL, actnorm=True)
    model = EnergyModule(flow, 2, 2, target=partial(Given), optimizer=adam(1e-2))
    loader = DataLoader(items, batch_size=20)
    trainer = make_trainer(max_epochs=20)
    trainer.fit(model, loader, loader)
    assert trainer.callback_metrics["val/ess"] > 0.6
    assert trainer.callback_metrics["val/nll"].isfinite()
    assert all(bool(flag) for name, flag in model.flow.named_buffers() if "initialized" in name)


FREE = partial(FreeFormFlow, latent_features=2)
POSITIVE = partial(ComposedFlow, layers=[Abs, partial(InverseOf, layer=Softplus), SMALL])
SLICED = partial(ComposedFlow, layers=[SMALL, partial(Slice, keep=1)])


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        (POSITIVE, "ComposedFlow is exact and its kind is inference surjection: use a bij"),
        (SLICED, "EnergyModule follows gradients through draws of the flow .* surjection"),
        (
            partial(LatentPriorFlow, latent_features=1),
            "is known up to a lower bound and its kind is",
        ),
        (partial(SMALL, base=partial(NormalMixture, components=2)), "choose between categories"),
        (partial(PaddedFlow, latent_features=1), "one on a manifold: use RectangularModule"),
        (FREE, "one on a manifold: use FreeFormModule"),
    ],
)
def test_refuses_flows_without_gradients_of_draws(flow, message):
    with pytest.raises(ConfigError, match=message):
        EnergyModule(flow, 2, target=Ring())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": nn.Linear}, "target cannot be made without arguments"),
        ({"target": nn.ReLU}, "which has no log_prob; give what has log_prob"),
        ({"target": lambda x: -x.sum(1)}, "<lambda>.* has no log_prob; give what has log_prob"),
        ({"target": Quartic()}, "target is a Quartic that no checkpoint could make again; give"),
        ({"target": 3}, "target is 3, which has no log_prob; give what has log_prob"),
        ({"target": CorrelatedNormal([[1.0]])}, r"CorrelatedNormal has event_shape \(1,\); the mo"),
        ({"target": NormalPosterior()}, r"NormalPosterior has context_shape \(1,\); the model has"),
        ({"temperature": 0.0}, "temperature is 0.0; accepted are positive numbers"),
        ({"temperature": (1.0, -1.0, 5)}, "temperature is -1.0; accepted are positive numbers"),
        ({"temperature": (2.0, 1.0, 0)}, "steps of temperature is 0; accepted are positive integ"),
        ({"temperature": (2.0, 1.0)}, "accepted are a positive number, or start, end and"),
        ({"samples": 0}, "samples is 0; accepted are positive integers"),
        ({"eval_samples": 1.5}, "eval_samples is 1.5; accepted are positive integers"),
        ({"noise": 0.1}, "noise is 0.1; EnergyModule trains on no data"),
    ],
)
def test_refuses_senseless_options(options, message):
    with pytest.raises((ConfigError, ShapeError), match=message):
        EnergyModule(SMALL, 2, **{"target": Ring(), **options})


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (Column, ShapeError, r"target gave log-densities of shape \(\d+, 1\) for \d+ points"),
        (Broken, DataError, r"target gave NaN for \d+ of \d+ points that the flow drew; accepted"),
    ],
)
def test_refuses_what_a_target_gives(make_trainer, target, error, message):
    data = Draws(Normal(2), n_train=100, n_val=20)
    for options in ({}, {"limit_val_batches": 0}):  # before training, and in its first step
        with pytest.raises(error, match=message):
            make_trainer(**options).fit(EnergyModule(SMALL, 2, target=target), data)


def test_refuses_preprocessing_that_draws(make_trainer):
    target = TorchDistribution("Normal", {"loc": torch.zeros(1, 8, 8).tolist(), "scale": 1.0})
    model = EnergyModule(SMALL, (1, 8, 8), target=target)
    with pytest.raises(ConfigError, match="takes a bijection; the preprocessing of the data"):
        make_trainer().fit(model, Digits())


def test_draws_say_what_they_are_given():
    with pytest.raises(ConfigError, match=r"density is 3; accepted are densities, such as Normal"):
        Draws(3)
    with pytest.raises(ShapeError, match=r"NormalPosterior is conditioned on contexts of shape"):
        Draws(NormalPosterior())
    with pytest.raises(ShapeError, match="contexts follow a NormalPosterior that is conditioned"):
        Draws(Normal(2), contexts=NormalPosterior())
    with pytest.raises(ConfigError, match="n_train is 0; accepted are positive integers"):
        Draws(Normal(2), n_train=0)

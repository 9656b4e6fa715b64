"""Validation scores the objective of training, and says which rows it could not score."""

import warnings
from functools import partial

import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback
from torch import nn
from torch.utils.data import DataLoader

from lightning_flows import (
    ComposedFlow,
    ContourInformation,
    DensityModule,
    ExactVolume,
    FreeFormFlow,
    FreeFormModule,
    FreeFormVolume,
    Normal,
    NoVolume,
    OffDiagonal,
    PaddedFlow,
    RealNVP,
    RectangularModule,
    StochasticVolume,
    Tikhonov,
    TwoStepModule,
)
from lightning_flows.datamodules import Arrays, Digits, InMemoryLoader
from lightning_flows.nets import MLPDecoder, MLPEncoder
from lightning_flows.objectives import NoiseLevel, TargetError
from lightning_flows.transforms import Abs, Augment, InverseOf, Softplus

SMALL = partial(RealNVP, layers=2, hidden=(8,), activation="tanh")
PADDED = partial(PaddedFlow, latent_features=2, ambient=SMALL, prior=SMALL)
FREE = partial(
    FreeFormFlow,
    latent_features=2,
    encoder=partial(MLPEncoder, hidden=(8,)),
    decoder=partial(MLPDecoder, hidden=(8,)),
    prior=SMALL,
)
POSITIVE = partial(ComposedFlow, layers=[Abs, partial(InverseOf, layer=Softplus), SMALL])
AUGMENTED = partial(ComposedFlow, layers=[partial(Augment, add=1), SMALL])
EXACT = partial(FreeFormModule, FREE, 4, volume=ExactVolume(), reconstruction=3.0)
PENALTIES = (OffDiagonal(0.7), ContourInformation(0.3), Tikhonov(0.2, probes=None))
pytestmark = pytest.mark.filterwarnings("ignore:.*val_dataloader")


def points(n=40, dtype=torch.float32):
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(1))
    return x.to(dtype) * torch.tensor([1.0, 5.0, 30.0, 0.1], dtype=dtype) + 1


def drawn(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.double().eval()  # in evaluation mode noise is the same in both losses


class Still(torch.optim.SGD):
    """Takes no step."""

    def step(self, closure):
        return closure()


@pytest.mark.parametrize("kind", ["table", "images"])
def test_the_logged_losses_of_a_density_are_its_nll(kind, make_trainer):
    if kind == "table":
        data = Arrays(data={"train": points(64), "val": points(64)}, test=0.0, batch_size=64)
    else:
        data = Digits(batch_size=2000)
        data.load = lambda: {"train": Digits.load(data)["val"], "val": Digits.load(data)["val"]}
    flow = partial(RealNVP, layers=1, hidden=(8,))
    model = DensityModule(flow, data.event_shape, optimizer=partial(Still, lr=0.0))
    trainer = make_trainer(num_sanity_val_steps=0)
    trainer.fit(model, data)
    logged = trainer.callback_metrics
    assert logged["val/loss"] == logged["val/nll"]
    # images: dequantized by another draw, of 64 pixels of 20 to 30 nats in all
    tolerance = 1e-5 if kind == "table" else 5e-3
    assert logged["train/loss"] == pytest.approx(float(logged["val/nll"]), rel=tolerance)
    assert abs(logged["val/nll"]) > 2


def test_two_steps_are_validated_by_the_objective_of_each(make_trainer):
    data = Arrays(data={"train": points(64), "val": points(64)}, test=0.0, batch_size=64)
    gaps = []
    for seed in (2, 3):
        model = TwoStepModule(
            PADDED, 4, manifold_epochs=1, reconstruction=7.0, optimizer=partial(Still, lr=0.0)
        )
        drawn(model, seed).float().train()
        found = []
        for epochs in (1, 2):
            trainer = make_trainer(max_epochs=epochs, num_sanity_val_steps=0)
            trainer.fit(model, data)
            logged = trainer.callback_metrics
            found.append(float(logged["train/loss"] - logged["val/loss"]))
        gaps.append(found)
        u = model.flow.project(model.to_model_space(points(64))[0])
        loss = make_trainer().validate(model, data, verbose=False)[0]["val/loss"]
        assert loss == pytest.approx(-model.flow.prior.log_prob(u).mean().item(), rel=1e-4)
    assert gaps[0] == pytest.approx([-200, 0], abs=1e-3)
    assert gaps[1] == pytest.approx([-200, 0], abs=1e-3)


@pytest.mark.parametrize("volume", [FreeFormVolume(), StochasticVolume(2)])
def test_a_strategy_for_gradients_is_validated_by_the_true_volume(volume):
    torch.manual_seed(0)
    exact, model, x = EXACT(), EXACT(volume=volume), points()
    model.load_state_dict(exact.state_dict())
    torch.testing.assert_close(model.evaluate(x, None), exact.evaluate(x, None))


# -- β, warm-up ------------------------------------------------------------------------------------


def test_the_multiplier_rests_while_the_likelihood_has_no_weight(make_trainer):
    betas = []
    for epochs in (1, 2, 3):
        model = RectangularModule(PADDED, 4, reconstruction=TargetError(1e6, 5.0), warmup=(1, 4))
        make_trainer(max_epochs=epochs, num_sanity_val_steps=0).fit(
            model, Arrays(data=points(64), batch_size=16)
        )
        betas.append(model.beta)
    assert betas[:2] == pytest.approx([5.0, 5.0])  # w is 0 in both of these epochs
    assert betas[2] < 4.9


def test_a_bad_batch_leaves_the_multiplier_as_it_was(make_trainer):
    model = RectangularModule(PADDED, 4, reconstruction=TargetError(1e6, 5.0))
    make_trainer(num_sanity_val_steps=0).fit(model, InMemoryLoader((points() * torch.nan,), 40))
    assert model.beta == pytest.approx(5.0)


@pytest.mark.parametrize(("warmup", "weights"), [((5, 5), [0, 0, 1, 1]), ((4, 6), [0, 0, 0.5, 1])])
def test_a_warm_up_of_no_length_is_a_step(warmup, weights, monkeypatch):
    model = RectangularModule(PADDED, 4, warmup=warmup)
    found = []
    for epoch in (0, 4, 5, 6):
        monkeypatch.setattr(type(model), "current_epoch", epoch)
        found.append(model.likelihood_weight)
    assert found == weights


@pytest.mark.parametrize(("d", "target", "beta"), [(1, 0.01, 150.0), (3, 0.5, 1.0), (4, 0.5, 1.0)])
def test_a_learned_beta_does_not_move_what_is_compared(d, target, beta):
    model = FreeFormModule(partial(FREE, latent_features=d), 4, reconstruction=TargetError(target))
    first, ambient = model.evaluate(points(), None), model.ambient_log_prob(points())
    assert model.scoring_beta == pytest.approx(beta)
    model.reconstruction.log_multiplier += 3
    torch.testing.assert_close(model.evaluate(points(), None), first)
    torch.testing.assert_close(-ambient, first["ambient_nll"])
    assert FreeFormModule(FREE, 4, reconstruction=8.0).scoring_beta == 8.0
    assert FreeFormModule(FREE, 4, reconstruction=NoiseLevel(0.5)).scoring_beta == 2.0


# -- rows that cannot be scored --------------------------------------------------------------------


class Rows(nn.Linear):
    """Takes the first two entries as latents."""

    def __init__(self, event_shape, features):
        super().__init__(event_shape[0], features, bias=False)
        with torch.no_grad():
            self.weight.copy_(torch.eye(features, event_shape[0]))


class Cone(nn.Module):
    """Flat to the left of zero in the first latent: the Jacobian loses a column there."""

    def __init__(self, event_shape, features):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.rest = event_shape[0] - features

    def forward(self, u):
        flat = torch.where(u[:, :1] < 0, 0.0, u[:, :1])
        return torch.cat([self.scale * flat, u[:, 1:], 0.5 * u[:, 1:].repeat(1, self.rest)], 1)


CONE = partial(FreeFormFlow, latent_features=2, encoder=Rows, decoder=Cone, prior=Normal)
STILL = {"optimizer": partial(Still, lr=0.0)}


def rows(failing, sound):
    x = points(failing + sound)
    x[:, 0] = x[:, 0].abs() + 0.1
    x[:failing, 0] *= -1
    return x


@pytest.mark.parametrize("stage", ["validate", "test"])
@pytest.mark.parametrize("batch_size", [3, 4, 20])
def test_rows_whose_volume_fails_are_counted_and_left_out(stage, batch_size, make_trainer):
    prefix = {"validate": "val", "test": "test"}[stage]
    model = FreeFormModule(CONE, 4, reconstruction=2.0)
    x = rows(7, 11)  # with 3 and 4, all rows of the first batches fail
    with pytest.warns(UserWarning, match="The Jacobian of 7 rows is not finite or not of") as said:
        logged = getattr(make_trainer(), stage)(model, DataLoader(x, batch_size), verbose=False)[0]
    assert len([w for w in said if "The Jacobian of" in str(w.message)]) == 1
    assert logged[f"{prefix}/volume/failed"] == 7
    right = model.evaluate(x[7:], None)
    for name in ("nll", "loss", "log_volume"):
        assert logged[f"{prefix}/{name}"] == pytest.approx(right[name].mean().item(), rel=1e-5)
    whole = model.evaluate(x, None)
    for name in ("reconstruction", "ambient_nll"):  # of all rows: they need no volume of these
        assert logged[f"{prefix}/{name}"] == pytest.approx(whole[name].mean().item(), rel=1e-5)


def test_an_objective_without_volume_is_scored_on_all_rows(make_trainer):
    model, x = FreeFormModule(CONE, 4, volume=NoVolume()), rows(5, 0)
    with pytest.warns(UserWarning, match="The Jacobian of 5 rows"):
        logged = make_trainer().validate(model, DataLoader(x, 5), verbose=False)[0]
    assert logged["val/loss"] == pytest.approx(model.evaluate(x, None)["loss"].mean().item())
    assert logged["val/nll"] != logged["val/nll"]  # nothing is left of it


def test_a_fit_says_once_that_rows_were_left_out(make_trainer):
    model = FreeFormModule(CONE, 4, **STILL)
    for _ in range(2):  # in each fit
        with pytest.warns(UserWarning, match="The Jacobian of") as said:
            make_trainer(max_epochs=3).fit(
                model, DataLoader(rows(0, 8), 8), DataLoader(rows(1, 7), 8)
            )
        assert len([w for w in said if "The Jacobian of 1 rows" in str(w.message)]) == 1


def test_training_counts_failures_an_epoch_at_a_time_however_often_it_stops(make_trainer, tmp_path):
    """Three rows fail in the first batch of an epoch, one in the second."""
    x = torch.cat([rows(3, 1), rows(1, 3)])
    path = tmp_path / "middle.ckpt"

    def save(trainer, module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (1, 0):
            trainer.save_checkpoint(path)

    for ckpt_path in (None, path):
        model, found = FreeFormModule(CONE, 4, volume=ExactVolume(), **STILL), []
        note = LambdaCallback(
            on_train_batch_end=save,
            on_train_epoch_start=lambda trainer, module, found=found: found.append(
                trainer.callback_metrics.get("train/volume/failed")
            ),
        )
        trainer = make_trainer(max_epochs=3, callbacks=[note])
        trainer.fit(model, InMemoryLoader((x,), 4), ckpt_path=ckpt_path)
        counts = [*filter(None, found), trainer.callback_metrics["train/volume/failed"]]
        assert counts == [4] * (3 if ckpt_path is None else 2)


@pytest.mark.parametrize("cause", ["data", "prior"])
def test_what_the_data_or_the_prior_has_spoilt_is_not_left_out(cause, make_trainer):
    x = rows(2, 6)
    flow = CONE
    if cause == "data":
        x[-1, 3] = torch.nan
    else:
        flow = partial(CONE, prior=Nowhere)
    model = FreeFormModule(flow, 4)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The Jacobian of")
        logged = make_trainer().validate(model, DataLoader(x, 8), verbose=False)[0]
    assert logged["val/volume/failed"] == (2 if cause == "data" else 0)
    assert not torch.tensor(logged["val/loss"]).isfinite()


class Nowhere(Normal):
    """Has no support at all."""

    def log_prob(self, x, context=None):
        return super().log_prob(x, context) - torch.inf

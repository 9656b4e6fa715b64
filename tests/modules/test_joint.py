"""Options of the joint objective: multiplier, residual, penalties, noise; their checkpoints."""

import math
from functools import partial

import lightning.pytorch as pl
import pytest
import torch
from torch.func import jacrev, vmap

from lightning_flows import (
    MAF,
    DensityModule,
    ExactVolume,
    FreeFormFlow,
    FreeFormModule,
    FreeFormVolume,
    PaddedFlow,
    RealNVP,
    RectangularModule,
    TwoStepModule,
)
from lightning_flows.core.errors import ConfigError
from lightning_flows.datamodules import Arrays
from lightning_flows.modules import injective
from lightning_flows.nets import MLPDecoder, MLPEncoder
from lightning_flows.objectives import (
    ContourInformation,
    Isometry,
    NoiseLevel,
    OffDiagonal,
    TargetError,
    Tikhonov,
    reconstruction,
)
from lightning_flows.transforms.bijections.standardize import Standardize

SMALL = partial(RealNVP, layers=2, hidden=(8,), activation="tanh")
FREE = partial(
    FreeFormFlow,
    latent_features=2,
    encoder=partial(MLPEncoder, hidden=(8,)),
    decoder=partial(MLPDecoder, hidden=(8,)),
    prior=SMALL,
)
PADDED = partial(PaddedFlow, latent_features=2, ambient=SMALL, prior=SMALL)
FAMILIES = {
    "free_form": partial(FreeFormModule, FREE, 4),
    "rectangular": partial(RectangularModule, PADDED, 4),
}
each_family = pytest.mark.parametrize("family", FAMILIES)


def table(n=64):
    return Arrays(data=points(n), batch_size=32)


def points(n=64):
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(1))
    return x * torch.tensor([3.0, 2.0, 1.0, 0.5]) + 1


def scrambled(model):
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


class Still(torch.optim.SGD):
    """Takes no step, so that what is logged is of known weights."""

    def step(self, closure):
        return closure()


class Record(pl.Callback):
    """Remembers β after every step, and what is missing of gradients."""

    def __init__(self):
        self.betas, self.missing = [], set()

    def on_after_backward(self, trainer, module):
        self.missing |= {name for name, p in module.named_parameters() if p.grad is None}

    def on_train_batch_end(self, trainer, module, *args):
        self.betas.append(module.beta)


# -- the multiplier --------------------------------------------------------------------------------


@each_family
@pytest.mark.parametrize(("target", "sign"), [(1e-9, 1), (1e9, -1)])
def test_the_multiplier_follows_the_error(family, target, sign, make_trainer):
    model, record = FAMILIES[family](reconstruction=TargetError(target, 5.0)), Record()
    trainer = make_trainer(max_epochs=2, callbacks=[record])
    trainer.fit(model, table())
    steps = torch.tensor([5.0, *record.betas]).log().diff()
    torch.testing.assert_close(steps, torch.full((4,), sign * 0.02), rtol=1e-3, atol=0)
    assert trainer.callback_metrics["train/beta"] == pytest.approx(record.betas[-1])


@pytest.mark.filterwarnings("ignore:.*exists and is not empty")
def test_the_multiplier_is_saved_and_goes_on(make_trainer, tmp_path):
    def run(epochs, ckpt_path=None):
        record = Record()
        pl.seed_everything(0, verbose=False)
        model = FAMILIES["rectangular"](reconstruction=TargetError(1e-9))
        trainer = make_trainer(max_epochs=epochs, callbacks=[record])
        trainer.fit(model, table(), ckpt_path=ckpt_path)
        return trainer, model, record.betas

    whole = run(4)[2]
    half, model, first = run(2)
    half.save_checkpoint(tmp_path / "x.ckpt")
    again = RectangularModule.load_from_checkpoint(tmp_path / "x.ckpt", weights_only=True)
    assert again.beta == model.beta == first[-1] != 50
    assert first + run(4, tmp_path / "x.ckpt")[2] == whole


def test_an_unreachable_target_is_said_once_and_training_goes_on(make_trainer, monkeypatch):
    monkeypatch.setattr(reconstruction, "LARGEST_BETA", 50.5)
    model = FAMILIES["free_form"](reconstruction=TargetError(1e-9), warmup=(0, 3))
    said = []
    monkeypatch.setattr(
        injective, "rank_zero_warn", lambda text: said.append((model.current_epoch, text))
    )
    trainer = make_trainer(max_epochs=6)
    trainer.fit(model, table())
    ((epoch, text),) = said
    assert epoch == 3  # not during the warm-up
    assert "does not come down to its target: β has reached 50.5" in text
    assert trainer.current_epoch == 6
    assert model.beta == pytest.approx(50.5)


def test_the_multiplier_stays_positive(make_trainer):
    model = FAMILIES["rectangular"](reconstruction=TargetError(1e9))
    model.reconstruction.log_multiplier.fill_(-200.0)  # e^-200 is zero in single precision
    make_trainer(num_sanity_val_steps=0).fit(model, table())
    assert model.beta == pytest.approx(1e-6)
    assert model.ambient_log_prob(points()).isfinite().all()


# -- residual, options -----------------------------------------------------------------------------


@each_family
def test_a_residual_is_a_beta(family):
    assert FAMILIES[family](reconstruction=NoiseLevel(0.1)).beta == pytest.approx(50)
    assert FAMILIES[family](reconstruction=NoiseLevel(2.0)).beta == pytest.approx(0.125)


@each_family
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reconstruction": math.nan}, "beta is nan; accepted are positive"),
        ({"noise": -0.1}, "noise is -0.1; accepted are numbers from 0 up"),
    ],
)
def test_options_out_of_range_are_refused(family, options, message):
    with pytest.raises(ConfigError, match=message):
        FAMILIES[family](**options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NoiseLevel(0.0), "sigma is 0.0; accepted are positive"),
        (lambda: TargetError(-1.0), "target is -1.0; accepted are positive"),
        (lambda: TargetError(1.0, 0.0), "beta is 0.0; accepted are positive"),
    ],
)
def test_senseless_weights_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


# -- penalties and noise ---------------------------------------------------------------------------


@each_family
def test_penalties_are_weighted_by_the_warm_up_and_logged(family, make_trainer):
    penalties = [OffDiagonal(3.0), ContourInformation(0.5), Tikhonov(0.2, probes=None)]
    plain, record = FAMILIES[family](volume=ExactVolume()), Record()
    model = FAMILIES[family](volume=ExactVolume(), penalties=penalties, warmup=(1, 3))
    model.load_state_dict(scrambled(plain).state_dict())
    trainer = make_trainer(max_epochs=1, callbacks=[record])
    trainer.fit(model, table())
    assert not [name for name in trainer.callback_metrics if "penalty" in name]  # w = 0
    assert not record.missing
    names = {f"train/penalty/{name}" for name in ("off_diagonal", "principal", "tikhonov")}

    model = FAMILIES[family](
        volume=ExactVolume(),
        penalties=penalties,
        warmup=(0, 2),
        optimizer=partial(Still, lr=1.0),
    )
    model.load_state_dict(plain.state_dict())
    trainer = make_trainer(max_epochs=2, limit_train_batches=1, callbacks=[Record()])
    data = Arrays(data=points(), batch_size=64)
    trainer.fit(model, data)  # in the second epoch w = 1/2
    x = data.train_dataloader().tensors["x"]
    logged = trainer.callback_metrics
    assert names <= set(logged)
    y = model.to_model_space(x)[0]
    u = model.flow.project(y)
    j = vmap(jacrev(lambda v: model.flow.embed(v[None])[0]))(u)
    f = vmap(jacrev(lambda v: model.flow.project(v[None])[0]))(y)
    gram = j.mT @ j
    volume = 0.5 * torch.logdet(gram)
    values = {
        "off_diagonal": 2 * gram[:, 0, 1].abs(),
        "principal": j.norm(dim=1).log().sum(1) - volume,
        "tikhonov": f.square().sum((1, 2)),
    }
    for name, value in values.items():
        torch.testing.assert_close(
            logged[f"train/penalty/{name}"], value.mean(), rtol=1e-3, atol=1e-5
        )
    weighted = sum(p.weight * values[p.name] for p in penalties)
    error = (y - model.flow.embed(u)).square().sum(1)
    loss = 0.5 * (volume - model.flow.prior.log_prob(u) + weighted) + 50 * error
    torch.testing.assert_close(logged["train/loss"], loss.mean(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", ["free_form", "rectangular", "density"])
def test_noise_is_for_training_only(family):
    make = {**FAMILIES, "density": partial(DensityModule, SMALL, 4)}[family]
    x = points()
    options = {} if family == "density" else {"volume": ExactVolume()}
    noisy, plain = make(noise=0.5, **options), make(**options)
    noisy.load_state_dict(plain.state_dict())
    torch.manual_seed(3)
    first, again = (noisy.training_loss(x, None)[0] for _ in range(2))
    assert not torch.equal(first, again)
    torch.manual_seed(3)
    moved = plain.training_loss(x + 0.5 * torch.randn_like(x), None)[0]
    torch.testing.assert_close(first, moved)
    torch.testing.assert_close(noisy.evaluate(x, None), plain.evaluate(x, None))


def test_penalties_on_a_decoder_that_goes_entry_by_entry():
    make = partial(MAF, layers=2, hidden=(8,))
    penalties = [OffDiagonal(0.3), ContourInformation(2.0)]
    model = scrambled(DensityModule(make, 4, penalties=penalties)).double()
    x = points(16).double()
    z = model.flow.encode(x)
    j = vmap(jacrev(lambda row: model.flow.decode(row[None])[0]))(z)
    gram = j.mT @ j
    off_diagonal = gram.abs().sum((1, 2)) - gram.diagonal(dim1=1, dim2=2).sum(1)
    contours = j.norm(dim=1).log().sum(1) - 0.5 * gram.logdet()
    loss, parts = model.training_loss(x, None)
    torch.testing.assert_close(parts["penalty/off_diagonal"], off_diagonal)
    torch.testing.assert_close(parts["penalty/principal"], contours)
    torch.testing.assert_close(loss, -model.log_prob(x) + 0.3 * off_diagonal + 2.0 * contours)


@pytest.mark.parametrize("options", [{"noise": math.nan}, {"noise": -1.0}])
def test_a_density_refuses_senseless_options(options):
    with pytest.raises(ConfigError, match="accepted are"):
        DensityModule(SMALL, 4, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"penalties": Tikhonov(1.0)}, "give a list such as"),
        ({"penalties": [0.3]}, r"a penalty is 0.3; give an object such as Tikhonov\(0.01\)"),
    ],
)
@pytest.mark.parametrize("family", [DensityModule, FAMILIES["rectangular"]])
def test_penalties_are_objects_in_a_list(family, options, message):
    arguments = (SMALL, 4) if family is DensityModule else ()
    with pytest.raises(ConfigError, match=message):
        family(*arguments, **options)


@pytest.mark.parametrize(
    ("given", "message"), [("50", "reconstruction is '50'; give"), (-1.0, "beta is -1.0")]
)
def test_a_reconstruction_is_a_number_or_a_part(given, message):
    with pytest.raises(ConfigError, match=message):
        FAMILIES["rectangular"](reconstruction=given)
    with pytest.raises(ConfigError, match="accepted are numbers and NoiseLevel"):
        TwoStepModule(PADDED, 4, reconstruction=TargetError(1.0))


def test_a_multiplier_belongs_to_one_module():
    part = TargetError(1.0)
    first, second = (FAMILIES["rectangular"](reconstruction=part) for _ in range(2))
    first.reconstruction.observe(torch.tensor(9.0))
    assert first.beta > second.beta == pytest.approx(50.0)


# -- evaluation and checkpoints --------------------------------------------------------------------


@each_family
def test_the_ambient_density_is_logged_in_units_of_the_data(family, make_trainer):
    model = scrambled(FAMILIES[family](reconstruction=2.0)).double()
    model.preprocess = Standardize(4).double()
    model.preprocess.std.copy_(torch.tensor([3.0, 0.1, 20.0, 1.0]))
    model.preprocess.mean.copy_(torch.tensor([1.0, -5.0, 0.0, 2.0]))
    x = points(8).double()
    y = (x - model.preprocess.mean) / model.preprocess.std
    u = model.flow.project(y)
    f = vmap(jacrev(lambda row: model.flow.project(row[None])[0]))(y)
    expected = (
        model.flow.prior.log_prob(u)
        + 0.5 * torch.logdet(f @ f.mT)
        + math.log(2.0 / math.pi)  # (D - d) / 2 = 1
        - 2.0 * (y - model.flow.embed(u)).square().sum(1)
        - model.preprocess.std.log().sum()
    )
    torch.testing.assert_close(model.ambient_log_prob(x), expected)
    torch.testing.assert_close(model.evaluate(x, None)["ambient_nll"], -expected)
    model = FAMILIES[family](reconstruction=2.0)
    trainer = make_trainer(max_steps=1)
    data = table()
    trainer.fit(model, data)
    logged = trainer.test(model, data, verbose=False)[0]["test/ambient_nll"]
    x = data.test_dataloader().tensors["x"]
    assert logged == pytest.approx(-model.ambient_log_prob(x).mean().item(), rel=1e-4)


@pytest.mark.parametrize("weights_only", [None, True])
def test_a_checkpoint_holds_nets_volume_and_penalties(weights_only, make_trainer, tmp_path):
    model = FreeFormModule(
        FREE,
        4,
        volume=FreeFormVolume(target="probe", at="x_hat_detached", probes=2),
        penalties=[Isometry(0.1, probes=3), Tikhonov(0.2)],
        reconstruction=NoiseLevel(0.2),
        noise=0.01,
        warmup=(0, 1),
    )
    trainer = make_trainer(max_steps=3)
    trainer.fit(model, table())
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = FreeFormModule.load_from_checkpoint(tmp_path / "x.ckpt", weights_only=weights_only)
    assert torch.equal(again.log_prob(points()), model.log_prob(points()))
    assert torch.equal(again.decode(again.encode(points())), model.decode(model.encode(points())))
    assert (again.beta, again.noise, again.warmup) == (model.beta, 0.01, (0, 1))
    assert vars(again.volume) == vars(model.volume)
    for part, other in zip(again.penalties, model.penalties, strict=True):
        assert type(part) is type(other)
        assert vars(part) == vars(other)
    assert dict(again.hparams) == dict(model.hparams)

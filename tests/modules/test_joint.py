"""Options of the joint objective: penalties, noise, warm-up; their checkpoints."""

import math
from functools import partial

import pytest
import torch
from joint import FAMILIES, Record, each_family, points, table
from module_cases import FREE, SMALL
from torch.func import jacrev, vmap

from lightning_flows import (
    MAF,
    DensityModule,
    ExactVolume,
    FreeFormModule,
    FreeFormVolume,
)
from lightning_flows.core.errors import ConfigError
from lightning_flows.datamodules import Arrays
from lightning_flows.objectives import (
    ContourInformation,
    Isometry,
    NoiseLevel,
    OffDiagonal,
    Tikhonov,
)
from lightning_flows.transforms.bijections.standardize import Standardize


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

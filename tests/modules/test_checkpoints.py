"""A checkpoint alone rebuilds a family, safely, and gives the same densities to the bit."""

from functools import partial

import lightning.pytorch as pl
import pytest
import torch

import lightning_flows
from lightning_flows import (
    MAF,
    ComposedFlow,
    DensityModule,
    ExactVolume,
    NeuralSplineFlow,
    NormalMixture,
    PaddedFlow,
    RealNVP,
    RectangularModule,
    StochasticVolume,
    SurjectiveModule,
)
from lightning_flows.bases import ConditionalNormal
from lightning_flows.core.errors import CheckpointError
from lightning_flows.datamodules import Arrays, Digits, Toy
from lightning_flows.objectives import Tikhonov
from lightning_flows.transforms import Abs, ActNorm, Augment, InverseOf, Softplus

SMALL = partial(RealNVP, layers=2, hidden=(8,))
Adam = torch.optim.Adam


def toy(**options):
    return Toy("moons", n_train=256, n_val=64, n_test=64, batch_size=64, **options)


def points(shape=(2,), n=32):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1))


MODELS = {
    "class": lambda: DensityModule(MAF, 2),
    "partial": lambda: DensityModule(SMALL, (2,), optimizer=partial(Adam, lr=0.01)),
    "base": lambda: DensityModule(
        partial(NeuralSplineFlow, layers=2, hidden=[8], base=partial(NormalMixture, components=3)),
        2,
    ),
    "actnorm": lambda: DensityModule(partial(SMALL, actnorm=True, mixing="lu"), 2),
    "surjections": lambda: SurjectiveModule(
        partial(
            ComposedFlow,
            layers=[
                Abs,
                partial(InverseOf, layer=Softplus),
                partial(Augment, add=1, density=partial(ConditionalNormal, hidden=[8])),
                ActNorm,
                partial(SMALL, base=partial(NormalMixture, components=2)),
            ],
        ),
        2,
        iw_samples=5,
        penalties=[Tikhonov(0.01)],
    ),
    "nested": lambda: RectangularModule(
        partial(PaddedFlow, latent_features=1, ambient=SMALL, prior=partial(SMALL, layers=1)),
        2,
        volume=StochasticVolume(probes=2),
        reconstruction=7.0,
        warmup=(0, 1),
        scheduler=partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.9),
    ),
}


@pytest.mark.parametrize("weights_only", [None, True])
@pytest.mark.parametrize("name", MODELS)
def test_made_in_python(name, weights_only, make_trainer, tmp_path):
    pl.seed_everything(0, verbose=False)
    model = MODELS[name]()
    trainer = make_trainer(max_steps=3)
    trainer.fit(model, toy(standardize=True))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = type(model).load_from_checkpoint(tmp_path / "x.ckpt", weights_only=weights_only)
    x = points()
    for each in (model, again):
        each.eval()  # where noise depends on the data alone
    assert torch.equal(again.log_prob(x), model.log_prob(x))
    assert torch.equal(again.encode(x), model.encode(x))
    assert again.preprocess.fitted  # the DataModule is not needed
    assert dict(again.hparams) == dict(model.hparams)


def test_options_survive(make_trainer, tmp_path):
    trainer = make_trainer(max_steps=1)
    trainer.fit(MODELS["nested"](), toy())
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = RectangularModule.load_from_checkpoint(tmp_path / "x.ckpt")
    assert (again.beta, again.warmup, again.volume.probes) == (7.0, (0, 1), 2)
    made = again.configure_optimizers()
    assert made["optimizer"].param_groups[0]["fused"]
    assert made["lr_scheduler"]["scheduler"].gamma == 0.9
    changed = RectangularModule.load_from_checkpoint(
        tmp_path / "x.ckpt", reconstruction=3.0, volume=ExactVolume()
    )
    assert changed.beta == 3.0
    assert isinstance(changed.volume, ExactVolume)


def test_discrete_and_conditional_data(make_trainer, tmp_path):
    data = Digits(context="one-hot", batch_size=64)
    model = DensityModule(SMALL, data.event_shape, data.context_shape)
    trainer = make_trainer(max_steps=2, limit_val_batches=1)
    trainer.fit(model, data)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = DensityModule.load_from_checkpoint(tmp_path / "x.ckpt", weights_only=True).eval()
    x, context = model.unpack(next(iter(data.test_dataloader())))
    model.eval()
    assert torch.equal(again.log_prob(x, context), model.log_prob(x, context))
    assert again.sample(3, context[:2]).shape == (2, 3, 1, 8, 8)


@pytest.mark.filterwarnings("ignore:.*exists and is not empty")
@pytest.mark.parametrize("name", ["partial", "actnorm", "nested"])
def test_a_resumed_run_is_the_run(name, make_trainer, tmp_path):
    def run(epochs, ckpt_path=None, seed=0):
        pl.seed_everything(seed, verbose=False)
        model = MODELS[name]()
        if name == "nested":  # probes are drawn anew
            model.volume = ExactVolume()
        trainer = make_trainer(max_epochs=epochs)
        trainer.fit(model, toy(standardize=True), ckpt_path=ckpt_path)
        return trainer, model

    _, whole = run(4)
    half, _ = run(2)
    half.save_checkpoint(tmp_path / "x.ckpt")
    resumed, model = run(4, tmp_path / "x.ckpt", seed=1)
    assert resumed.current_epoch == 4
    for key, value in whole.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key


def test_a_truncated_or_foreign_file_is_said(make_trainer, tmp_path):
    model, path = MODELS["partial"](), tmp_path / "x.ckpt"
    trainer = make_trainer(max_steps=1)
    trainer.fit(model, toy())
    trainer.save_checkpoint(path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no checkpoint"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="damaged or no checkpoint"):
            DensityModule.load_from_checkpoint(path)
    torch.save({"weights": 1}, path)
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        DensityModule.load_from_checkpoint(path)
    with pytest.raises(CheckpointError, match="does not exist"):
        DensityModule.load_from_checkpoint(tmp_path / "none.ckpt")
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match=r"another architecture .* of RealNVP"):
        DensityModule.load_from_checkpoint(path, flow=partial(SMALL, layers=4))


def test_a_checkpoint_of_another_architecture_is_refused_by_the_trainer(make_trainer, tmp_path):
    trainer = make_trainer(max_steps=1)
    trainer.fit(MODELS["partial"](), toy())
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    for other in (DensityModule(partial(SMALL, hidden=(9,)), 2), MODELS["nested"]()):
        with pytest.raises(CheckpointError, match="another architecture"):
            make_trainer().test(other, toy(), ckpt_path=tmp_path / "x.ckpt")


def test_an_untrained_checkpoint_is_still_initialized(make_trainer, tmp_path):
    trainer = make_trainer(max_steps=0, num_sanity_val_steps=0)
    trainer.fit(MODELS["actnorm"](), toy())
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = DensityModule.load_from_checkpoint(tmp_path / "x.ckpt")
    make_trainer(max_steps=1).fit(again, toy())
    assert all(value for key, value in again.state_dict().items() if "initialized" in key)


def test_preprocessing_of_arrays_in_memory_is_in_the_checkpoint(make_trainer, tmp_path):
    x = points((3,), 200) * torch.tensor([1.0, 10.0, 100.0]) + 5
    model = DensityModule(SMALL, 3)
    trainer = make_trainer(max_steps=1)
    trainer.fit(model, Arrays(data=x))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = DensityModule.load_from_checkpoint(tmp_path / "x.ckpt")
    assert again.preprocess.std[2] > 50
    assert torch.equal(again.log_prob(x), model.log_prob(x))


def test_weights_come_to_where_they_are_asked_for(make_trainer, tmp_path):
    trainer = make_trainer(max_steps=1)
    trainer.fit(DensityModule(partial(RealNVP, layers=1), 2), toy())
    trainer.save_checkpoint(tmp_path / "flow.ckpt")
    asked = []

    def place(storage, location):
        asked.append(location)
        return storage

    lightning_flows.load(tmp_path / "flow.ckpt", map_location=place)
    assert set(asked) == {"cpu"}
    module = lightning_flows.load(tmp_path / "flow.ckpt")
    assert {parameter.device.type for parameter in module.parameters()} == {"cpu"}

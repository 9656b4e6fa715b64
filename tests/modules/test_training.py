"""How families train: logged names, batches, optimizers, first batches; and parts of ours alone."""

from functools import partial

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lightning_flows import (
    ComposedFlow,
    DensityModule,
    ExactVolume,
    PaddedFlow,
    RealNVP,
    RectangularModule,
    StochasticVolume,
    SurjectiveModule,
)
from lightning_flows.callbacks import NonFiniteGuard
from lightning_flows.core.errors import DataError, ShapeError
from lightning_flows.core.noise import Placed
from lightning_flows.datamodules import Arrays, Digits, InMemoryLoader, Toy
from lightning_flows.transforms import Abs, Augment, InverseOf, Slice, Softplus
from proofs.common import same

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*val(_dataloader|idation_step)", "ignore:Total len"
)

SMALL = partial(RealNVP, layers=2, hidden=(8,))
EXACT = partial(ComposedFlow, layers=[Abs, partial(InverseOf, layer=Softplus), SMALL])
BOUND = partial(ComposedFlow, layers=[partial(Augment, add=1), SMALL])
LINE = partial(PaddedFlow, latent_features=1, ambient=SMALL, prior=SMALL)


def moons(**options):
    return Toy(**{"n_train": 128, "n_val": 64, "n_test": 64, "batch_size": 32, **options})


def points(n=64, features=2):
    return torch.randn(n, features, generator=torch.Generator().manual_seed(1))


def names(family, data, make_trainer):
    model = family(data.event_shape)
    trainer = make_trainer(limit_train_batches=2, limit_val_batches=1, limit_test_batches=1)
    trainer.fit(model, data)
    found = set(trainer.callback_metrics)
    trainer.test(model, data, verbose=False)
    return found | set(trainer.callback_metrics)


def expected(*evaluated, train=("loss",)):
    stages = {f"{stage}/{name}" for stage in ("val", "test") for name in evaluated}
    return stages | {f"train/{name}" for name in train}


def with_errors(*evaluated):
    """Names where scores draw noise: each with its standard error."""
    return expected("loss", *(name + end for name in evaluated for end in ("", "_se")))


def test_logged_names(make_trainer):
    density = partial(DensityModule, SMALL)
    assert names(density, moons(), make_trainer) == expected("nll", "loss")
    assert names(density, Digits(), make_trainer) == with_errors("nll", "bits_per_dim")
    surjective = partial(SurjectiveModule, EXACT)
    assert names(surjective, moons(), make_trainer) == expected("nll", "loss")
    halved = partial(ComposedFlow, layers=[SMALL, partial(Slice, keep=32)])
    surjective = partial(SurjectiveModule, halved)
    assert names(surjective, Digits(), make_trainer) == with_errors("nll", "bits_per_dim")
    surjective = partial(SurjectiveModule, BOUND, iw_samples=3)
    iwbo = {"test/iwbo_3", "test/iwbo_3_se"}
    assert names(surjective, moons(), make_trainer) == with_errors("elbo") | iwbo
    assert names(surjective, Digits(), make_trainer) == with_errors("elbo", "bits_per_dim") | iwbo
    parts = ("loss", "reconstruction", "log_volume")
    rectangular = partial(RectangularModule, LINE)
    assert names(rectangular, moons(), make_trainer) == expected(
        "nll", "ambient_nll", "volume/failed", *parts, train=(*parts, "volume/failed")
    )


def test_values_are_means_over_all_data(make_trainer):
    data = Digits(validation=100, test=97, batch_size=64)  # the last batch is smaller
    model = DensityModule(SMALL, data.event_shape)
    trainer = make_trainer(limit_train_batches=2)
    trainer.fit(model, data)
    logged = trainer.test(model, data, verbose=False)[0]
    x = data.test_dataloader().tensors["x"]
    with torch.no_grad(), Placed(torch.arange(97)):
        nll = -model.eval().log_prob(x).double()
    error = float(nll.std()) / 97**0.5
    assert logged["test/nll_se"] == pytest.approx(error, rel=1e-4)
    nll = nll.mean()
    assert logged["test/nll"] == pytest.approx(float(nll), rel=1e-5)
    bits = float(nll) / 64 / torch.log(torch.tensor(2.0)).item()
    assert logged["test/bits_per_dim"] == pytest.approx(bits, rel=1e-5)


class Lower(RealNVP):
    """Pretends that its log_prob is a lower bound."""

    exact = False


def test_a_lower_bound_is_not_called_nll(make_trainer):
    density = partial(DensityModule, partial(Lower, layers=1, hidden=(8,)))
    assert names(density, moons(), make_trainer) == with_errors("elbo")


class Rows(Dataset):
    def __init__(self, form):
        self.form = form

    def __len__(self):
        return 64

    def __getitem__(self, index):
        return self.form(points()[index], torch.ones(3) * index)


BATCHES = {
    "tensor": lambda x, c: x,
    "tuple of one": lambda x, c: (x,),
    "tuple": lambda x, c: (x, c),
    "dict": lambda x, c: {"x": x, "context": c},
}


FAMILIES = [
    partial(DensityModule, SMALL),
    partial(RectangularModule, LINE),
    partial(SurjectiveModule, BOUND, iw_samples=2),
]


@pytest.mark.parametrize("form", BATCHES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_plain_dataloader_of_any_form(form, family, make_trainer):
    loader = DataLoader(Rows(BATCHES[form]), batch_size=32)
    trainer = make_trainer()
    trainer.fit(family(2), loader, loader)
    assert trainer.callback_metrics["val/loss"].isfinite()
    assert len(trainer.predict(family(2), loader)) == 2
    conditional = family(2, context_shape=3)
    if form in ("tuple", "dict"):
        make_trainer().fit(conditional, loader, loader)
    else:
        with pytest.raises(ShapeError, match="needs context, and the batch holds none"):
            make_trainer().fit(conditional, loader)


def test_predictions_are_latents_and_densities(make_trainer):
    data = moons()
    model = DensityModule(SMALL, 2)
    batches = make_trainer().predict(model, data)
    x = data.test_dataloader().tensors["x"]
    log_prob = torch.cat([batch["log_prob"] for batch in batches])
    torch.testing.assert_close(log_prob, model.log_prob(x).detach())
    latent = torch.cat([batch["latent"] for batch in batches])
    torch.testing.assert_close(latent, model.encode(x).detach())


def test_data_of_another_shape_is_refused(make_trainer):
    with pytest.raises(ShapeError, match=r"batch has shape \(32, 2\); expected is \(batch, 3\)"):
        make_trainer().fit(DensityModule(SMALL, 3), moons())


class ForeignData(pl.LightningDataModule):
    """With a method that is called as our attribute."""

    def preprocess(self, x):
        return x

    def train_dataloader(self):
        return DataLoader(points(), batch_size=32)


def test_a_foreign_datamodule(make_trainer):
    model = DensityModule(SMALL, 2)
    make_trainer().fit(model, ForeignData())
    assert model.preprocess is None


class ForeignModule(pl.LightningModule):
    """Has our flow in its own training step, with our volume as a term of its own loss."""

    def __init__(self, volume=None):
        super().__init__()
        self.flow = SMALL(2)
        self.decoder = torch.nn.Sequential(
            torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)
        )
        self.volume = volume

    def training_step(self, batch, batch_idx):
        x = batch["x"]
        if self.volume is None:
            loss = -self.flow.log_prob(x).mean()
        else:
            _, x_hat, log_volume, *_ = self.volume(lambda x: x[:, :1], self.decoder, x)
            loss = (log_volume + (x_hat - x).square().sum(1)).mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


@pytest.mark.parametrize("volume", [None, ExactVolume(), StochasticVolume(2)])
def test_our_parts_in_a_foreign_module(volume, make_trainer):
    torch.manual_seed(0)
    module, losses = ForeignModule(volume), []
    for epochs in (1, 20):
        trainer = make_trainer(max_epochs=epochs)
        trainer.fit(module, moons())
        losses.append(trainer.callback_metrics["loss"])
    assert losses[1] < losses[0] - 0.1


def test_fused_adam_unless_told_otherwise():
    optimizer = DensityModule(SMALL, 2).configure_optimizers()
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.defaults["lr"] == 1e-3
    assert optimizer.defaults["fused"]
    model = DensityModule(
        SMALL,
        2,
        optimizer=partial(torch.optim.SGD, lr=0.5),
        scheduler=partial(StepLR, step_size=1, gamma=0.1),
    )
    made = model.configure_optimizers()
    assert isinstance(made["optimizer"], torch.optim.SGD)
    assert made["lr_scheduler"]["interval"] == "epoch"


def test_schedulers_step_every_epoch(make_trainer):
    model = DensityModule(
        SMALL,
        2,
        optimizer=partial(torch.optim.SGD, lr=1e-3),
        scheduler=partial(StepLR, step_size=1, gamma=0.1),
    )
    trainer = make_trainer(max_epochs=2)
    trainer.fit(model, moons())
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-5)


@pytest.mark.parametrize("flow", [SMALL, partial(Lower, layers=1, hidden=(8,))])
def test_reduce_on_plateau_follows_the_validation(flow, make_trainer):
    model = DensityModule(
        flow,
        2,
        optimizer=partial(torch.optim.SGD, lr=1e-12),  # nothing ever gets better
        scheduler=partial(ReduceLROnPlateau, patience=0, eps=0),
    )
    trainer = make_trainer(max_epochs=3)
    trainer.fit(model, moons())
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-14)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("family", ["density", "rectangular", "surjective"])
def test_compiled_networks_train_under_the_same_names(family, make_trainer, monkeypatch):
    graphs = []

    def backend(graph, inputs):  # inductor takes half a minute; what is captured is the same
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    make = dict(zip(("density", "rectangular", "surjective"), FAMILIES, strict=True))

    def run(compile):
        torch.manual_seed(0)
        torch.compiler.reset()
        model = make[family](2, compile=compile)
        make_trainer(max_epochs=1, num_sanity_val_steps=0).fit(model, moons())
        return model.state_dict()

    plain = run(False)
    assert not graphs
    compiled = run(True)
    assert graphs
    assert list(compiled) == list(plain)
    for key, value in plain.items():
        torch.testing.assert_close(compiled[key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["density", "rectangular"])
def test_actnorm_starts_from_the_first_batch(family, make_trainer):
    flow = partial(SMALL, actnorm=True)
    data = Arrays(data=3 + 10 * points(200), batch_size=50)
    if family == "density":
        model = DensityModule(flow, 2)
    else:
        model = RectangularModule(partial(LINE, ambient=flow, prior=flow), 2, reconstruction=1.0)
    make_trainer(max_steps=1).fit(model, data)
    assert all(value for key, value in model.state_dict().items() if "initialized" in key)
    assert len([key for key in model.state_dict() if "initialized" in key]) >= 2


def test_actnorm_says_that_one_sample_is_not_enough(make_trainer):
    model = DensityModule(partial(SMALL, actnorm=True), 2)
    with pytest.raises(DataError, match="at least 2 samples"):
        make_trainer(max_steps=1).fit(model, InMemoryLoader((points(),), 1))


def test_batches_of_one_train(make_trainer):
    for family in FAMILIES:
        model = family(2)
        trainer = make_trainer()
        loader = InMemoryLoader((points(3),), 1)
        trainer.fit(model, loader, loader)
        assert trainer.callback_metrics["val/loss"].isfinite()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bad_batch_is_skipped_by_the_guard(family, make_trainer):
    x = points(128)
    x[40] = torch.nan  # in the second of four batches
    model, guard = family(2), NonFiniteGuard()
    trainer = make_trainer(callbacks=[guard])
    with pytest.warns(UserWarning, match="Step 1 is skipped"):
        trainer.fit(model, DataLoader(TensorDataset(x), batch_size=32))
    assert guard.skipped == 1
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
def test_a_loader_of_ones_own_is_shuffled_as_in_the_run_after_any_resume(make_trainer, tmp_path):
    def run(path, epochs):
        torch.manual_seed(3)
        model = DensityModule(SMALL, 2)
        saves = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=2, save_top_k=-1)
        data = DataLoader(TensorDataset(points()), 16, shuffle=True)
        options = {"enable_checkpointing": True, "callbacks": [saves]}
        trainer = make_trainer(max_epochs=epochs, **options)
        trainer.fit(model, data, ckpt_path=path)
        trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return model.flow.state_dict()

    whole = run(None, epochs=3)
    torch.rand(5)  # nor does it matter what was drawn before
    run(None, epochs=2)
    for name in ("step=4", "step=8", "2"):  # the last batches of two epochs, and the end of one
        same(run(tmp_path / f"{name}.ckpt", epochs=3), whole)

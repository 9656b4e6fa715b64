"""Every family trains in every precision, with gradients clipped."""

from functools import partial

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision

from lightning_flows import (
    MAF,
    ComposedFlow,
    ContourInformation,
    DensityModule,
    ExactVolume,
    FreeFormFlow,
    FreeFormModule,
    Glow,
    Isometry,
    NeuralSplineFlow,
    OffDiagonal,
    PaddedFlow,
    RealNVP,
    RectangularModule,
    StochasticVolume,
    SurjectiveModule,
    Tikhonov,
    TwoStepModule,
)
from lightning_flows.datamodules import Arrays, Digits
from lightning_flows.nets import MLPDecoder, MLPEncoder
from lightning_flows.objectives import TargetError
from lightning_flows.transforms import Augment

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*lr_scheduler.step", "ignore:Conjugate gradients left"
)
TINY = {"layers": 2, "hidden": (8,)}
SMALL = partial(RealNVP, mixing="lu", actnorm=True, activation="tanh", **TINY)
PADDED = partial(PaddedFlow, latent_features=2, ambient=SMALL, prior=SMALL)
FREE = partial(
    FreeFormFlow,
    latent_features=2,
    encoder=partial(MLPEncoder, hidden=(8,)),
    decoder=partial(MLPDecoder, hidden=(8,)),
    prior=SMALL,
)
AUGMENTED = partial(ComposedFlow, layers=[partial(Augment, add=1), SMALL])
FAMILIES = {
    "density": partial(DensityModule, SMALL, penalties=[Tikhonov(0.1)]),
    "splines": partial(DensityModule, partial(NeuralSplineFlow, mixing="lu", **TINY)),
    "autoregressive": partial(DensityModule, partial(MAF, **TINY)),
    "surjective": partial(SurjectiveModule, AUGMENTED, iw_samples=2),
    "rectangular": partial(
        RectangularModule, PADDED, penalties=[OffDiagonal(0.1), ContourInformation(0.1)]
    ),
    "stochastic": partial(
        RectangularModule, PADDED, volume=StochasticVolume(2), reconstruction=TargetError(1.0)
    ),
    "iterative": partial(RectangularModule, PADDED, volume=StochasticVolume(2, direct=1)),
    "free form": partial(FreeFormModule, FREE, penalties=[Isometry(0.1), Tikhonov(0.1)]),
    "free form, exact": partial(FreeFormModule, FREE, volume=ExactVolume(chunk_size=1)),
    "two step": partial(TwoStepModule, PADDED, manifold_epochs=1),
}
PRECISIONS = ("bf16-mixed", "16-mixed", "bf16-true", "64-true")  # single is everywhere else


def table():
    x = torch.randn(72, 4, generator=torch.Generator().manual_seed(1))
    return Arrays(data=x * torch.tensor([1.0, 5.0, 30.0, 0.2]) + 3, batch_size=16)


def trained(model, data, precision, make_trainer):
    options = {"precision": precision}
    if precision == "16-mixed":  # Lightning's own scaler is that of CUDA
        scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
        options = {"plugins": [MixedPrecision("16-mixed", "cpu", scaler)]}
    trainer = make_trainer(gradient_clip_val=1.0, max_epochs=2, **options)
    torch.manual_seed(0)
    before = [p.detach().clone() for p in model.parameters()]
    trainer.fit(model, data)
    assert all(value.isfinite() for value in trainer.callback_metrics.values())
    tested = trainer.test(model, data, verbose=False)[0]
    assert all(value == value for value in tested.values())
    assert any(not torch.equal(a.to(b), b) for a, b in zip(before, model.parameters(), strict=True))
    return trainer


QUICK = [(family, "bf16-true") for family in FAMILIES if family not in ("splines", "iterative")]
QUICK += [("density", "bf16-mixed"), ("rectangular", "16-mixed"), ("free form", "bf16-mixed")]


@pytest.mark.parametrize(
    ("family", "precision"),
    [
        pytest.param(f, p, marks=[pytest.mark.slow] * ((f, p) not in QUICK))
        for f in FAMILIES
        for p in PRECISIONS
    ],
)
def test_families_train_in_every_precision(family, precision, make_trainer):
    model = FAMILIES[family](event_shape=4)
    trainer = trained(model, table(), precision, make_trainer)
    fused = trainer.optimizers[0].defaults["fused"]
    assert fused == ("mixed" not in precision)


@pytest.mark.parametrize(
    "precision", ["bf16-true", pytest.param("bf16-mixed", marks=pytest.mark.slow)]
)
def test_images_train_in_half_precision(precision, make_trainer):
    flow = partial(Glow, levels=1, steps=1, hidden=(4,))
    data = Digits(batch_size=32)
    trainer = make_trainer(
        precision=precision,
        gradient_clip_val=1.0,
        limit_train_batches=2,
        limit_val_batches=1,
    )
    trainer.fit(DensityModule(flow, data.event_shape), data)
    assert 0 < trainer.callback_metrics["val/bits_per_dim"] < 20


def test_the_default_is_fused_without_clipping(make_trainer):
    model = DensityModule(SMALL, 4)
    trainer = make_trainer(precision="bf16-mixed", max_steps=1)
    trainer.fit(model, table())
    assert trainer.optimizers[0].defaults["fused"]

"""Callbacks with what they leave. A new one is one line in `CASES`."""

from functools import partial

import lightning.pytorch as pl
from foreign import Elsewhere

from lightning_flows import DensityModule, RankedFlow, RealNVP
from lightning_flows.callbacks import (
    AffineGainMonitor,
    ComponentExtraction,
    ContributionRanking,
    DensityPlot,
    FlowCallback,
    GreedyBlocks,
    LastCheckpoint,
    MassCertificate,
    NonFiniteGuard,
    OutOfDistribution,
    PredictionWriter,
    ReconstructionGrid,
    SampleGrid,
    TruncationPlot,
)
from proofs.callback import CallbackCase


def _elsewhere(shape: tuple[int, ...]) -> pl.Callback:
    return OutOfDistribution(Elsewhere(shape), points=100, every_n_epochs=1)


def _components(shape: tuple[int, ...]) -> pl.Callback:
    return ComponentExtraction(points=6, walks=1, every_n_epochs=1)


def _ranked(shape: tuple[int, ...]) -> pl.LightningModule:
    return DensityModule(partial(RankedFlow, steps=1, hidden=(4,)), shape)


def _couplings(shape: tuple[int, ...]) -> pl.LightningModule:
    return DensityModule(partial(RealNVP, layers=2, hidden=(4,)), shape)


CASES: dict[str, CallbackCase] = {
    "samples": CallbackCase(lambda _: SampleGrid(n=40), "images/samples/0001.png"),
    "reconstructions": CallbackCase(
        lambda _: ReconstructionGrid(n=20), "images/reconstructions/0001.png"
    ),
    "components": CallbackCase(_components, "images/components/0001.npz"),
    "density": CallbackCase(
        lambda _: DensityPlot(resolution=70, points=40), "images/density/0001.png", images=False
    ),
    "ood": CallbackCase(_elsewhere, "images/ood/0001.npz"),
    "truncation": CallbackCase(
        lambda _: TruncationPlot(40, every_n_epochs=1), "images/truncation/0001.npz"
    ),
    "mass": CallbackCase(
        lambda _: MassCertificate(600, points=40, every_n_epochs=1), "images/mass/0001.npz"
    ),
    "affine gain": CallbackCase(
        lambda _: AffineGainMonitor(40, rotations=1, every_n_epochs=1),
        "images/affine_gain/0001.npz",
    ),
    "greedy blocks": CallbackCase(
        lambda _: GreedyBlocks(epochs=1, points=40),
        "images/affine_gain/0001.npz",
        module=_couplings,
        trains=True,
    ),
    "guard": CallbackCase(lambda _: NonFiniteGuard()),
    "predictions": CallbackCase(lambda _: PredictionWriter(), "predictions.npz"),
    "last checkpoint": CallbackCase(lambda _: LastCheckpoint(), "checkpoints/last.ckpt"),
    "ranking": CallbackCase(lambda _: ContributionRanking(epochs=1), module=_ranked, trains=True),
}


def drawers(shape: tuple[int, ...]) -> list[FlowCallback]:
    """Those of the cases that draw data of this shape."""
    planes = len(shape) == 1
    found = [case.build(shape) for case in CASES.values() if planes or case.images]
    return [callback for callback in found if isinstance(callback, FlowCallback)]

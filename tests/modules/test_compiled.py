"""A flow that nobody has called yet compiles in training mode, and learns what it would."""

import threading
from functools import partial

import pytest
import torch

from lightning_flows import (
    MAF,
    NICE,
    AutoregressiveSplineFlow,
    ComposedFlow,
    FreeFormFlow,
    Glow,
    LatentPriorFlow,
    MixedFlow,
    NeuralSplineFlow,
    PaddedFlow,
    RankedFlow,
    RealNVP,
    SurjectiveSplineFlow,
    flows,
)
from lightning_flows.core import noise
from lightning_flows.nets import MLPDecoder, MLPEncoder
from lightning_flows.transforms import Augment

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*val_dataloader", "ignore:The .grad attribute of a Tensor that is not a leaf"
)
TINY = {"layers": 2, "hidden": (4,)}
SMALL = partial(RealNVP, **TINY)
AUGMENTED = partial(ComposedFlow, layers=[partial(Augment, add=1), SMALL])
PADDED = partial(PaddedFlow, latent_features=1, ambient=SMALL, prior=SMALL)
FREE = partial(
    FreeFormFlow,
    latent_features=1,
    encoder=partial(MLPEncoder, hidden=(4,)),
    decoder=partial(MLPDecoder, hidden=(4,)),
    prior=SMALL,
)
FLOWS = {
    RealNVP: partial(SMALL, 4),
    NICE: partial(NICE, 4, **TINY),
    MAF: partial(MAF, 4, **TINY),
    NeuralSplineFlow: partial(NeuralSplineFlow, 4, **TINY),
    AutoregressiveSplineFlow: partial(AutoregressiveSplineFlow, 4, **TINY),
    Glow: partial(Glow, (1, 4, 4), levels=1, steps=1, hidden=(4,)),
    RankedFlow: partial(RankedFlow, 4, steps=1, hidden=(4,)),
    ComposedFlow: partial(AUGMENTED, 4),
    SurjectiveSplineFlow: partial(SurjectiveSplineFlow, 4),
    LatentPriorFlow: partial(LatentPriorFlow, 4, ambient=SMALL),
    MixedFlow: partial(MixedFlow, 4, classes=[3, 0, 0, 2], flow=SMALL),
    PaddedFlow: partial(PADDED, 4),
    FreeFormFlow: partial(FREE, 4),
}


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """As in a process that has called no flow before."""
    torch.compiler.reset()
    monkeypatch.setattr(noise, "_current", type(noise._current)())


def test_all_flows_are_here():
    made = {getattr(flows, name) for name in flows.__all__}
    assert made - {*FLOWS} == {flows.Flow, flows.InjectiveFlow}


LONG = (NeuralSplineFlow, SurjectiveSplineFlow, MixedFlow, LatentPriorFlow, RankedFlow, NICE)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, id=k.__name__, marks=[pytest.mark.slow] * (k in LONG)) for k in FLOWS],
)
def test_a_fresh_flow_compiles_in_training_mode(kind):
    gradients = []
    for compiled in (True, False):  # so that it is the first to be called
        torch.manual_seed(0)
        flow = FLOWS[kind]().train()
        x = torch.randint(2, (8, *flow.event_shape)).float()
        if compiled:
            flow.compile(backend="eager")
        torch.manual_seed(1)
        for _ in range(2):  # the second one meets the guards that the first has left
            flow.zero_grad()
            (-flow(x).mean()).backward()
        gradients.append([p.grad for p in flow.parameters() if p.grad is not None])
    assert gradients[0]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-5)


def test_each_thread_starts_without_a_key():
    seen = []

    def look():
        seen.append(dict(vars(noise._current)))

    with noise.Reproducible(torch.zeros(1)):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert seen == [{"keys": None, "index": 0, "places": None, "parts": 1}]

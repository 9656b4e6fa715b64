"""A flow that nobody has called yet compiles in training mode, and learns what it would."""

import threading

import pytest
import torch
from flow_cases import FIRST

from lightning_flows import (
    NICE,
    AssignmentFlow,
    ContinuousFlow,
    LatentPriorFlow,
    MixedFlow,
    NeuralSplineFlow,
    RankedFlow,
    SurjectiveSplineFlow,
)
from lightning_flows.core import noise

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*val_dataloader", "ignore:The .grad attribute of a Tensor that is not a leaf"
)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """As in a process that has called no flow before."""
    torch.compiler.reset()
    monkeypatch.setattr(noise, "_current", type(noise._current)())


LONG = (NeuralSplineFlow, SurjectiveSplineFlow, MixedFlow, LatentPriorFlow, RankedFlow, NICE)
LONG += (AssignmentFlow, ContinuousFlow)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, id=k.__name__, marks=[pytest.mark.slow] * (k in LONG)) for k in FIRST],
)
def test_a_fresh_flow_compiles_in_training_mode(kind):
    gradients = []
    for compiled in (True, False):  # so that it is the first to be called
        torch.manual_seed(0)
        flow = FIRST[kind]().train()
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

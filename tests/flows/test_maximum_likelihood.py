"""Maximum likelihood on known manifolds finds densities that are known."""

from functools import partial

import pytest
import torch

from lightning_flows.bases import VonMises
from lightning_flows.datamodules import Toy
from lightning_flows.flows import CircularSplineFlow, ComposedFlow, Flow, NeuralSplineFlow
from lightning_flows.transforms import CylinderChart, PeriodicShift, SimplexChart
from proofs.common import near

circular = partial(CircularSplineFlow, layers=3, hidden=(32, 32))
log_ratios = partial(NeuralSplineFlow, layers=4, hidden=(32, 32), actnorm=True)


def fitted(flow, data, steps, lr=5e-3):
    data.setup()
    x, test = (
        loader.dataset.tensors["x"] for loader in (data.train_dataloader(), data.test_dataloader())
    )
    torch.manual_seed(0)
    flow.initialize(x[:512])
    optimizer = torch.optim.Adam(flow.parameters(), lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = -flow.log_prob(x[torch.randint(len(x), (512,))]).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 10.0)
        optimizer.step()
        scheduler.step()
    with torch.no_grad():
        return (data.true_log_prob(test) - flow.log_prob(test)).mean().item()


def test_a_rotated_von_mises_density_finds_its_parameters():
    torch.manual_seed(0)
    angles = torch.distributions.VonMises(torch.tensor([2.5]), torch.tensor([30.0])).sample((4000,))
    base = VonMises(1)
    flow = Flow(PeriodicShift(1, shift=[-2.0]), base)
    optimizer = torch.optim.Adam(flow.parameters(), 0.05)
    for _ in range(150):
        optimizer.zero_grad()
        (-flow.log_prob(angles).mean()).backward()
        optimizer.step()
    loc, log_concentration = base.parameters_at(1, None)
    near(loc[0] - flow.transform.shift, torch.tensor([2.5]), 0.02)
    near(log_concentration[0].exp() / 30, torch.ones(1), 0.1)
    assert flow.log_prob(angles).isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("von_mises_fisher", lambda: ComposedFlow(3, layers=[CylinderChart, circular])),
        ("sphere", lambda: ComposedFlow(3, layers=[CylinderChart, circular])),
        ("wrapped_normal", lambda: circular(2)),
        ("dirichlet", lambda: ComposedFlow(3, layers=[SimplexChart, log_ratios])),
    ],
)
def test_flows_come_within_a_fiftieth_of_a_nat_of_the_truth(name, build):
    torch.manual_seed(0)
    data = Toy(name, n_train=20_000, n_val=0, n_test=10_000, batch_size=512)
    gap = fitted(build(), data, steps=1500)
    assert abs(gap) < 0.02

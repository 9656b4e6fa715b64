"""Flow matching: its loss, its pairs, of how many rows it scores, and what it learns."""

from functools import partial
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import torch
from discrete import ENTROPY, LABELS, PROBABILITIES, Posterior

from command_lines import CONFIGS
from lightning_flows import (
    AssignmentFlow,
    AssignmentModule,
    ContinuousFlow,
    DensityModule,
    FlowMatchingModule,
    RealNVP,
    Tikhonov,
    cli,
)
from lightning_flows.core.errors import ConfigError, DataError
from lightning_flows.datamodules import Arrays, Digits, InMemoryLoader
from lightning_flows.modules.flow_matching import _nearest
from lightning_flows.nets import FieldMLP
from proofs.common import near

SMALL = partial(FieldMLP, hidden=(8,))
FLOW = partial(ContinuousFlow, field=SMALL, steps=2)
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(val_dataloader|validation_step|log_every_n_steps)"
)


def test_the_loss_is_the_squared_error_of_the_velocity():
    """Of a velocity of zero: E‖x₁ - x₀‖² = E‖x₁‖² + D."""
    torch.manual_seed(0)
    x = 3 + torch.randn(40_000, 2)
    model = FlowMatchingModule(FLOW, 2)
    losses = model.training_loss(x, None)[0].detach()
    expected = x.square().sum(1).mean() + 2
    assert abs(losses.mean() - expected) < 4 * losses.std() / 200
    evaluated = model.eval().evaluate(x[:500], None)["loss"]
    assert abs(evaluated.mean() - expected) < 4 * losses.std() / 500**0.5


class Right(FieldMLP):
    """From N(0, 1) to N(3, 1)."""

    def forward(self, x, t, context=None):
        t = t[:, None]
        return 3 + (2 * t - 1) * (x - 3 * t) / (t.square() + (1 - t).square())


def test_the_loss_is_least_for_the_right_field():
    """There it is the variance of x₁ - x₀ given x_t, 1 / (t² + (1 - t)²), over all times."""
    torch.manual_seed(0)
    model = FlowMatchingModule(partial(ContinuousFlow, field=Right, steps=20), 1)
    x = 3 + torch.randn(40_000, 1)
    losses = model.training_loss(x, None)[0].detach()
    assert abs(losses.mean() - torch.pi / 2) < 4 * losses.std() / 200
    expected = torch.distributions.Normal(3.0, 1.0).log_prob(x[:50]).sum(1)
    near(model.log_prob(x[:50]), expected, 1e-4)


def test_optimal_pairs_have_the_least_sum_of_squares():
    generator = torch.Generator().manual_seed(0)
    noise, data = torch.randn(2, 6, 3, generator=generator)
    best = min(
        (data - noise[list(order)]).square().sum().item() for order in permutations(range(6))
    )
    paired = _nearest(noise, data)
    assert paired.unique(dim=0).shape == (6, 3)
    near((data - paired).square().sum().item(), best, 1e-5)
    noise[2, 0] = torch.nan
    assert _nearest(noise, data) is noise
    torch.manual_seed(0)
    x = torch.randn(200, 2)
    losses = [
        FlowMatchingModule(FLOW, 2, pairing=pairing).training_loss(x, None)[0].mean()
        for pairing in ("independent", "optimal")
    ]
    assert losses[1] < losses[0] / 4  # a velocity of zero is wrong by the length of the paths


@pytest.mark.parametrize("batch_size", [7, 40])
def test_densities_are_had_of_the_first_rows(make_trainer, batch_size):
    torch.manual_seed(0)
    x = torch.randn(40, 2)
    model = FlowMatchingModule(FLOW, 2, likelihood_rows_val=10)
    loader = InMemoryLoader({"x": x}, batch_size)
    trainer = make_trainer()
    found = trainer.validate(model, loader, verbose=False)[0]
    tested = trainer.test(model, loader, verbose=False)[0]
    with torch.no_grad():
        scores = model.eval().log_prob(x)
    near(found["val/nll"], -scores[:10].mean().item(), 1e-5)
    near(tested["test/nll"], -scores.mean().item(), 1e-5)
    near(found["val/loss"], tested["test/loss"], 1e-5)
    assert "val/nll_se" not in found


def test_estimates_come_with_their_error(make_trainer):
    x = torch.randn(40, 2)
    model = FlowMatchingModule(partial(FLOW, probes=2), 2, likelihood_rows_val=10)
    found = make_trainer().validate(model, InMemoryLoader({"x": x}, 7), verbose=False)[0]
    assert found["val/nll_se"] > 0


def grades(n=400):
    rng = np.random.default_rng(0)
    color = rng.choice(["red", "green", "blue"], n, p=[0.5, 0.3, 0.2])
    return pd.DataFrame({"color": color, "round": rng.choice(["yes", "no"], n)})


def test_a_table_of_categories(make_trainer, tmp_path):
    data = Arrays(data=grades(), categorical=["color", "round"])
    flow = partial(AssignmentFlow, classes=data.classes, field=SMALL, steps=2)
    model = AssignmentModule(flow, data.event_shape)
    trainer = make_trainer(max_epochs=2)
    trainer.fit(model, data)
    x = model.eval().sample(200)
    assert [column.unique().tolist() for column in x.unbind(1)] == [[0, 1, 2], [0, 1]]
    tested = trainer.test(model, data, verbose=False)[0]
    assert tested["test/bits_per_dim"] == pytest.approx(-tested["test/elbo"] / 2 / np.log(2))
    assert tested["test/elbo_se"] > 0
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = AssignmentModule.load_from_checkpoint(tmp_path / "x.ckpt", weights_only=True).eval()
    near(again.log_prob(x[:9]), model.log_prob(x[:9]), 0.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: FlowMatchingModule(partial(RealNVP, layers=1), 2),
            "FlowMatchingModule trains flows of a vector field, such as ContinuousFlow; RealNVP",
        ),
        (
            lambda: AssignmentModule(FLOW, 2),
            "AssignmentModule trains AssignmentFlow, whose data are labels, and ContinuousFlow is",
        ),
        (
            lambda: FlowMatchingModule(FLOW, 2, pairing="best"),
            "pairing is 'best'; accepted are 'independent' and 'optimal'",
        ),
        (
            lambda: FlowMatchingModule(FLOW, 2, 3, pairing="optimal"),
            "pairing is 'optimal', and the model is conditioned on context; accepted is",
        ),
        (
            lambda: FlowMatchingModule(FLOW, 2, likelihood_rows_val=-1),
            "likelihood_rows_val is -1; accepted are integers from 0 up",
        ),
        (
            lambda: AssignmentModule(AssignmentFlow, 2, noise=0.1),
            "noise is given; AssignmentModule takes none",
        ),
        (
            lambda: AssignmentModule(AssignmentFlow, 2, penalties=[Tikhonov(0.1)]),
            "penalties is given; AssignmentModule takes none",
        ),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_data_of_another_kind_is_refused(make_trainer):
    table = Arrays(data=grades(), categorical=["color", "round"])
    with pytest.raises(ConfigError, match=r"use AssignmentFlow or MixedFlow with classes=\[3, 2\]"):
        make_trainer().fit(DensityModule(partial(RealNVP, layers=1), 2), table)
    with pytest.raises(ConfigError, match=r"AssignmentFlow is not made for them: use Assignment"):
        make_trainer().fit(AssignmentModule(partial(AssignmentFlow, classes=3), 2), table)
    digits = Digits()
    model = AssignmentModule(partial(AssignmentFlow, field=SMALL, steps=1), digits.event_shape)
    with pytest.raises(ConfigError, match=r"lie outside of integers in \[0, 2\), where Assignm"):
        make_trainer(limit_val_batches=0).fit(model, digits)
    with pytest.raises(DataError, match=r"Row 1 of a batch holds values from 0\.5 to 1; Assig"):
        AssignmentModule(AssignmentFlow, 2).training_loss(torch.tensor([[0, 1], [0.5, 1]]), None)


@pytest.mark.slow
def test_a_known_joint_law_is_learned(make_trainer):
    torch.manual_seed(0)
    labels = LABELS[torch.multinomial(PROBABILITIES, 50_000, replacement=True)].float()
    flow = partial(
        AssignmentFlow, classes=3, field=partial(FieldMLP, hidden=(64, 64)), tolerance=1e-4
    )
    model = AssignmentModule(
        flow,
        2,
        optimizer=partial(torch.optim.Adam, lr=3e-3),
        scheduler=partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=30),
    )
    make_trainer(max_epochs=30).fit(model, InMemoryLoader({"x": labels}, 500, shuffle=True))
    model.double().eval()
    right = AssignmentFlow(2, classes=3, field=partial(Posterior, horizon=8.0)).double()
    with torch.no_grad():
        noise, end = right.endpoints(labels[:5000].double())
        t = torch.rand(5000, dtype=torch.float64)
        z = torch.lerp(noise, end, t[:, None])
        expected = right.field(z, t)
        error = (model.flow.field(z, t) - expected).square().sum() / expected.square().sum()
        x = model.sample(50_000)
        mean, spread = model.flow.estimate(LABELS, draws=200)
    shares = torch.bincount((3 * x[:, 0] + x[:, 1]).long(), minlength=9) / len(x)
    found = -(PROBABILITIES * mean).sum().item()
    standard_error = (PROBABILITIES * spread).square().sum().sqrt().item()
    assert error.sqrt() < 0.1
    assert (shares - PROBABILITIES).abs().sum() / 2 < 0.02
    assert found - ENTROPY < 0.02
    assert found - ENTROPY > -2 * standard_error


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Lightning and jsonargparse
def test_moons_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = str(CONFIGS / "moons" / "flow_matching.yaml")
    cli.main(["fit", "--config", config, "--pictures=false"])
    (last,) = tmp_path.rglob("last.ckpt")
    tested = cli.main(["test", f"--ckpt_path={last}", "--pictures=false"])
    assert tested.trainer.callback_metrics["test/nll"] < 1.1

"""A sample whose volume or penalty fails leaves the others of its batch alone."""

import pytest
import torch
from penalty_cases import CASES as PENALTIES
from torch import nn
from volume_cases import CASES as VOLUMES

from lightning_flows.objectives import (
    ContourInformation,
    free_form,
    penalties,
    stochastic,
    volume_and_penalties,
)

D, LATENT, BATCH = 6, 3, 4
WOUNDS = ("dead column", "cusp of the decoder", "cusp of the encoder")


class Pair(nn.Module):
    """Encoder and decoder with switches; the first entry of data is the first latent."""

    def __init__(self, wound):
        super().__init__()
        torch.manual_seed(0)
        self.wound = wound
        self.down = nn.Sequential(nn.Linear(D, 5), nn.Tanh(), nn.Linear(5, LATENT - 1)).double()
        self.up = nn.Sequential(nn.Linear(LATENT, 5), nn.Tanh(), nn.Linear(5, D)).double()
        self.skip = nn.Linear(LATENT, D, bias=False).double()
        self.size = nn.Parameter(torch.ones(1).double())

    def encode(self, x):
        first = x[:, :1]
        if self.wound == "cusp of the encoder":  # no derivative at 0, not even in a parameter
            first = (self.size * first).abs().sqrt()
        return torch.cat([first, self.down(x)], 1)

    def decode(self, u):
        first = self.size * u[:, :1]
        if self.wound == "dead column":  # the last latent has no effect where the first is 0
            return self.up(torch.cat([u[:, :2], first * u[:, 2:]], 1)) + self.skip(
                torch.cat([u[:, :2], first * u[:, 2:]], 1)
            )
        if self.wound == "cusp of the decoder":
            first = first.abs().sqrt()
        return self.up(torch.cat([first, u[:, 1:]], 1)) + self.skip(u)


def loss_of(rows, pair, x, volume, penalty):
    """Value, and gradients in all parameters, of the losses of some rows; all values there."""
    penalties = [] if penalty is None else [penalty]  # without, the volume has to do it alone
    way, values = volume_and_penalties(volume, penalties, pair.encode, pair.decode, x)
    reconstruction = (x - way.x_hat).square().sum(1)
    losses = sum(values, way.log_volume) + reconstruction + way.u.square().sum(1)
    found = torch.autograd.grad(
        torch.where(way.log_volume.isnan(), 0.0, losses).sum(),
        list(pair.parameters()),
        materialize_grads=True,
    )
    return losses[rows], torch.cat([part.flatten() for part in found]), way, values


@pytest.fixture(autouse=True)
def probes_belong_to_rows(monkeypatch):
    """Each row has probes of its own, whatever else is in the batch and however often they come."""
    table = torch.randn(2, BATCH, D, generator=torch.Generator().manual_seed(1)).double()

    def probes(u, count):
        drawn = table[:count, rows_of(u), : u.shape[1]]
        return u.shape[1] ** 0.5 * nn.functional.normalize(drawn, dim=2)

    def rows_of(u):
        return probes.rows if len(u) < BATCH else list(range(BATCH))

    probes.rows = list(range(BATCH))
    for module in (stochastic, penalties, free_form):
        monkeypatch.setattr(module, "probes_like", probes)
    monkeypatch.setattr(torch, "randperm", lambda n, **options: torch.arange(n))
    return probes


@pytest.mark.parametrize("wound", WOUNDS)
@pytest.mark.parametrize("volume", VOLUMES)
def test_the_others_are_as_without_it(volume, wound, probes_belong_to_rows):
    pair, strategy = Pair(wound), VOLUMES[volume]
    for index, (name, case) in enumerate([("none", None), *PENALTIES.items()]):
        position = (index + len(volume)) % BATCH
        others = [row for row in range(BATCH) if row != position]
        probes_belong_to_rows.rows = others
        x = torch.randn(BATCH, D, generator=torch.Generator().manual_seed(2)).double()
        x[position, 0] = 0.0
        parts = (strategy.volume, None if case is None else case.penalty)
        losses, gradient, way, values = loss_of(others, pair, x, *parts)
        expected = loss_of(slice(None), pair, x[others], *parts)
        assert expected[0].isfinite().all(), name
        torch.testing.assert_close(losses, expected[0], msg=lambda m, n=name: f"{n}: {m}")
        failed = wound in strategy.fails or (case is not None and wound in case.fails)
        assert way.log_volume[position].isnan() == failed, name
        if failed:
            torch.testing.assert_close(gradient, expected[1], msg=lambda m, n=name: f"{n}: {m}")
            assert all(value[position].isnan() for value in values)
            assert way.x_hat[position].isfinite().all()


@pytest.mark.parametrize("name", VOLUMES)
def test_where_all_fail_a_dead_column_poisons_nothing(name):
    pair = Pair("dead column")
    x = torch.randn(BATCH, D, generator=torch.Generator().manual_seed(2)).double()
    x[:, 0] = 0.0
    parts = (VOLUMES[name].volume, ContourInformation(1.0))
    _, gradient, way, values = loss_of(slice(None), pair, x, *parts)
    assert way.log_volume.isnan().all()
    assert values[0].isnan().all()
    assert gradient.isfinite().all()

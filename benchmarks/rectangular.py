"""The exact step of rectangular flows beside one that calls jvp for every latent dimension."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.func import jvp

from benchmarks.report import Row, speed_row
from benchmarks.timing import Stopwatch, interleave, stopwatch
from lightning_flows.flows import PaddedFlow, RealNVP
from lightning_flows.jacobians import Embedded, ExactVolume, StochasticVolume, Volume

__all__ = ["LoopOfJvps", "rectangular_rows", "step_loss"]


def rectangular_rows(*, quick: bool, rounds: int, warmup: int) -> Iterator[Row]:
    """Time one training step at the size of the MINIBOONE data (Caterini et al. 2021).

    Args:
        quick: use tiny sizes.
        rounds: rounds that count.
        warmup: rounds before those.
    """
    features, latent, batch = (6, 3, 8) if quick else (43, 21, 400)
    ambient = (
        partial(RealNVP, layers=2, hidden=(8,), activation="tanh")
        if quick
        else partial(RealNVP, layers=10, hidden=(128,) * 4, activation="tanh")
    )
    prior = partial(RealNVP, layers=5, hidden=(32, 32), activation="tanh")
    torch.manual_seed(0)
    x = torch.randn(batch, features)
    reference = PaddedFlow(features, latent_features=latent, ambient=ambient, prior=prior)
    volumes: dict[str, Volume] = {
        "our exact": ExactVolume(),
        "loop of jvps": LoopOfJvps(),
        "stochastic": StochasticVolume(probes=1),
    }
    watches: dict[str, Stopwatch] = {}
    for name, volume in volumes.items():
        flow = PaddedFlow(features, latent_features=latent, ambient=ambient, prior=prior)
        flow.load_state_dict(reference.state_dict())
        watches[name] = stopwatch(_step(flow, volume, x))
    timing = interleave(watches, rounds=rounds, warmup=warmup)
    case = f"rectangular, D={features} d={latent} batch {batch}"
    yield speed_row(f"{case}: exact step", timing, "loop of jvps", ours="our exact", at_most=0.5)
    yield speed_row(f"{case}: stochastic step", timing, "our exact", ours="stochastic")


def step_loss(flow: PaddedFlow, volume: Volume, x: Tensor, beta: float = 50.0) -> Tensor:
    """Constrained likelihood with the reconstruction, averaged over the batch."""
    embedded = volume(flow.project, flow.embed, x)
    log_prob = flow.prior.log_prob(embedded.u) - embedded.log_volume
    return (beta * (x - embedded.x_hat).square().sum(1) - log_prob).mean()


class LoopOfJvps(Volume):
    """The volume from one call of torch.func.jvp for each latent dimension, and Cholesky."""

    def __call__(
        self, encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor], x: Tensor
    ) -> Embedded:
        u = encode(x)
        columns = []
        for direction in torch.eye(u.shape[1], dtype=u.dtype):
            x_hat, column = jvp(decode, (u,), (direction.expand_as(u),))
            columns.append(column)
        j = torch.stack(columns, 2)
        factor = torch.linalg.cholesky(j.mT @ j)
        return Embedded(u, x_hat, factor.diagonal(dim1=1, dim2=2).log().sum(1), j)


def _step(flow: PaddedFlow, volume: Volume, x: Tensor) -> Callable[[], object]:
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        step_loss(flow, volume, x).backward()
        optimizer.step()

    return step

"""The exact step of rectangular flows beside one that calls jvp for every latent dimension."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.func import jvp

from benchmarks.report import Row, speed_row
from benchmarks.timing import Stopwatch, interleave, stopwatch
from lightning_flows.flows import PaddedFlow, RealNVP
from lightning_flows.jacobians import torch_derivatives
from lightning_flows.objectives import Embedded, ExactVolume, StochasticVolume, Volume

__all__ = ["LoopOfJvps", "rectangular_rows", "step_loss"]


@dataclass(frozen=True)
class Case:
    """Sizes of a rectangular flow and its batch.

    Args:
        features: dimension D of data.
        latent: dimension d of the manifold.
        batch: rows of a step.
        layers: number of coupling layers of the ambient flow.
        hidden: widths of their conditioners.
        at_most: largest ratio of the exact step to the loop that meets the goal.
    """

    features: int
    latent: int
    batch: int
    layers: int
    hidden: tuple[int, ...]
    at_most: float


CASES = (
    Case(43, 21, 400, 10, (128,) * 4, 1 / 2),  # MINIBOONE in Caterini et al. (2021)
    Case(784, 20, 64, 6, (128,) * 2, 1 / 3),
)
QUICK = (Case(6, 3, 8, 2, (8,), 1 / 2),)


def rectangular_rows(*, quick: bool, rounds: int, warmup: int) -> Iterator[Row]:
    """Time one training step of rectangular flows at the size of a table and of an image.

    Args:
        quick: use tiny sizes.
        rounds: rounds that count.
        warmup: rounds before those.
    """
    for sizes in QUICK if quick else CASES:
        yield from _case_rows(sizes, rounds, warmup)


def _case_rows(sizes: Case, rounds: int, warmup: int) -> Iterator[Row]:
    ambient = partial(RealNVP, layers=sizes.layers, hidden=sizes.hidden, activation="tanh")
    prior = partial(RealNVP, layers=5, hidden=(32, 32), activation="tanh")
    make = partial(
        PaddedFlow, sizes.features, latent_features=sizes.latent, ambient=ambient, prior=prior
    )
    torch.manual_seed(0)
    x = torch.randn(sizes.batch, sizes.features)
    reference = make()
    volumes: dict[str, Volume] = {
        "our exact": ExactVolume(),
        "loop of jvps": LoopOfJvps(),
        "stochastic": StochasticVolume(probes=1),
        "torch's rules": TorchRules(),
    }
    watches: dict[str, Stopwatch] = {}
    for name, volume in volumes.items():
        flow = make()
        flow.load_state_dict(reference.state_dict())
        watches[name] = stopwatch(_step(flow, partial(step_loss, flow, volume, x)))
    bounded = make()
    bounded.load_state_dict(reference.state_dict())
    watches["off-manifold"] = stopwatch(_step(bounded, partial(_off_manifold, bounded, x)))
    timing = interleave(watches, rounds=rounds, warmup=warmup)
    case = f"rectangular, D={sizes.features} d={sizes.latent} batch {sizes.batch}"
    yield speed_row(
        f"{case}: exact step", timing, "loop of jvps", ours="our exact", at_most=sizes.at_most
    )
    yield speed_row(
        f"{case}: exact step, own derivative rules",
        timing,
        "torch's rules",
        ours="our exact",
        at_most=0.9,
    )
    yield speed_row(
        f"{case}: stochastic step", timing, "our exact", ours="stochastic", at_most=0.65
    )
    yield speed_row(
        f"{case}: off-manifold step", timing, "our exact", ours="off-manifold", at_most=0.35
    )


def step_loss(flow: PaddedFlow, volume: Volume, x: Tensor, beta: float = 50.0) -> Tensor:
    """Constrained likelihood with the reconstruction, averaged over the batch."""
    embedded = volume(flow.project, flow.embed, x)
    log_prob = flow.prior.log_prob(embedded.u) - embedded.log_volume
    return (beta * (x - embedded.x_hat).square().sum(1) - log_prob).mean()


class TorchRules(ExactVolume):
    """The exact volume with torch's own forward derivatives in every layer."""

    def __call__(
        self, encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor], x: Tensor
    ) -> Embedded:
        with torch_derivatives():
            return super().__call__(encode, decode, x)


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


def _off_manifold(flow: PaddedFlow, x: Tensor) -> Tensor:
    return -flow.off_manifold_log_prob(x, scale=0.1).mean()


def _step(flow: PaddedFlow, loss: Callable[[], Tensor]) -> Callable[[], object]:
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step

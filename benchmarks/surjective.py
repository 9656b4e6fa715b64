"""Flowified networks beside matrix exponentials, and funnels beside flows that keep dimensions."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn

from benchmarks.report import Row, speed_row
from benchmarks.timing import Stopwatch, interleave, stopwatch
from lightning_flows.flows import Flow, NeuralSplineFlow, SurjectiveSplineFlow
from lightning_flows.transforms import Chain, FlowLinear, LeakyReLU, Transform

__all__ = ["ExponentialLinear", "flowified", "surjective_rows"]

WIDTHS = (784, 512, 256, 64)  # of the flowified network
BATCH = 128
FUNNELS = (  # widths after each layer; the flow beside it has as many layers and keeps the first
    (64, 64, 32, 16),
    (64, 64, 64, 64, 32, 32, 32, 32),
)
QUICK = ((6, 6, 3, 2),)


def surjective_rows(*, quick: bool, rounds: int, warmup: int) -> Iterator[Row]:
    """Time one step of maximum likelihood.

    Args:
        quick: use tiny sizes.
        rounds: rounds that count.
        warmup: rounds before those.
    """
    widths = (6, 4, 2) if quick else WIDTHS
    torch.manual_seed(0)
    x = torch.randn(BATCH, widths[0])
    watches: dict[str, Stopwatch] = {
        "reflections": stopwatch(_stepper(flowified(widths, FlowLinear), x)),
        "matrix_exp": stopwatch(_stepper(flowified(widths, ExponentialLinear), x)),
    }
    timing = interleave(watches, rounds=rounds, warmup=warmup)
    case = f"flowified {'-'.join(map(str, widths))}, batch {BATCH}: training step"
    yield speed_row(case, timing, "matrix_exp", ours="reflections", at_most=1 / 5)

    for widths in QUICK if quick else FUNNELS:
        yield _funnel_row(widths, rounds, warmup, repeats=1 if quick else 3)


def _funnel_row(widths: tuple[int, ...], rounds: int, warmup: int, repeats: int) -> Row:
    features, batch = widths[0], 512
    torch.manual_seed(0)
    x = torch.randn(batch, features)
    flows: dict[str, Flow] = {
        "funnels": SurjectiveSplineFlow(features, widths=widths, mixing="lu"),
        "bijective NSF": NeuralSplineFlow(features, layers=len(widths), mixing="lu"),
    }
    watches = {name: stopwatch(_stepper(flow, x), repeats) for name, flow in flows.items()}
    timing = interleave(watches, rounds=rounds, warmup=warmup)
    case = f"funnels {'-'.join(map(str, widths))}, batch {batch}: training step"
    return speed_row(case, timing, "bijective NSF", ours="funnels", at_most=1.0)


def flowified(widths: tuple[int, ...], linear: type[FlowLinear]) -> Flow:
    """A flowified MLP with leaky ReLUs between its layers."""
    parts: list[Transform] = []
    for n_in, n_out in pairwise(widths):
        parts += [linear(n_in, n_out), LeakyReLU(n_out)]
    return Flow(Chain(parts[:-1]))


class ExponentialLinear(FlowLinear):
    """The same layer with Q = exp(A - Aᵀ), as Máté et al. (2022) have it.

    Args:
        in_features: number n of entries of x.
        out_features: number m of entries of z.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        side = max(in_features, out_features)
        # a small norm is kind to this method: a larger one is squared more often
        self.vectors = nn.Parameter(0.01 * torch.randn(side, side))

    def _rotate(self, x: Tensor, *, adjoint: bool = False) -> Tensor:
        q = torch.matrix_exp(self.vectors - self.vectors.T)
        return x @ (q if adjoint else q.T)


def _stepper(flow: Flow, x: Tensor) -> Callable[[], object]:
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        (-flow.log_prob(x).mean()).backward()
        optimizer.step()

    return step

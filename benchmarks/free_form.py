"""The step of free-form flows beside those of a plain autoencoder and of a bounded objective."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.report import Row, speed_row
from benchmarks.timing import Stopwatch, interleave, stopwatch
from lightning_flows.bases import Normal
from lightning_flows.flows import FreeFormFlow
from lightning_flows.nets import MLPDecoder, MLPEncoder
from lightning_flows.objectives import FreeFormVolume, ImpliedPosterior

__all__ = ["free_form_rows"]

SIZES = ((43, 21, 256, 512), (784, 64, 512, 256))  # D, d, width of both hidden layers, batch


def free_form_rows(*, quick: bool, rounds: int, warmup: int) -> Iterator[Row]:
    """Time one training step with one probe, gradient through the encoder at x.

    Args:
        quick: use tiny sizes.
        rounds: rounds that count.
        warmup: rounds before those.
    """
    for features, latent, width, batch in ((6, 3, 8, 8),) if quick else SIZES:
        torch.manual_seed(0)
        x = torch.randn(batch, features)
        watches: dict[str, Stopwatch] = {}
        steps = {
            "free-form": _free_form,
            "plain autoencoder": _autoencoder,
            "variational": _variational,
        }
        for name, step in steps.items():
            flow = FreeFormFlow(
                features,
                latent_features=latent,
                encoder=partial(MLPEncoder, hidden=(width, width)),
                decoder=partial(MLPDecoder, hidden=(width, width)),
                prior=Normal,
            )
            watches[name] = stopwatch(_stepper(flow, step, x), repeats=1 if quick else 5)
        timing = interleave(watches, rounds=rounds, warmup=warmup)
        case = f"free-form, D={features} d={latent} width {width} batch {batch}"
        yield speed_row(f"{case}: step", timing, "plain autoencoder", ours="free-form", at_most=2.3)
        yield speed_row(
            f"{case}: variational step", timing, "free-form", ours="variational", at_most=1.3
        )


def _free_form(flow: FreeFormFlow, x: Tensor) -> Tensor:
    embedded = FreeFormVolume()(flow.project, flow.embed, x)
    log_prob = flow.prior.log_prob(embedded.u) - embedded.log_volume
    return (50 * (x - embedded.x_hat).square().sum(1) - log_prob).mean()


def _variational(flow: FreeFormFlow, x: Tensor) -> Tensor:
    """The bound with the posterior that the encoder implies, steered by the surrogate."""
    drawn = ImpliedPosterior("surrogate").steer(flow.project, flow.embed, x, torch.tensor([0.1]))
    log_prob = flow.prior.log_prob(drawn.z) + drawn.entropy
    return (50 * (x - drawn.x_hat).square().sum(1) - log_prob).mean()


def _autoencoder(flow: FreeFormFlow, x: Tensor) -> Tensor:
    return (50 * (x - flow.embed(flow.project(x))).square().sum(1)).mean()


def _stepper(
    flow: FreeFormFlow, loss: Callable[[FreeFormFlow, Tensor], Tensor], x: Tensor
) -> Callable[[], object]:
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        loss(flow, x).backward()
        optimizer.step()

    return step

"""Which volume term keeps joint training stable: a noisy sine, learned as a curve.

    python -m benchmarks.stability --out docs/results.md --figure docs/images/stability.png

The data have noise of standard deviation 0.3 in every direction, so the safe weight of the
reconstruction is β = 1/(2·0.3²) = 5.6. Below it, likelihood can be gained by bending the curve
until projected data concentrate; curvature and reconstruction error tell. The sine itself has a
curvature of up to 2.9.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.func import jacfwd, jacrev, vmap

from benchmarks.experiment import begin, command_line
from benchmarks.report import write_section
from benchmarks.training import BATCH, CLIP, descend
from lightning_flows.bases import Normal
from lightning_flows.flows import FreeFormFlow
from lightning_flows.jacobians import log_volume
from lightning_flows.nets import ResidualDecoder, ResidualEncoder
from lightning_flows.objectives import Embedded, ExactVolume, FreeFormVolume, Volume, squared_norm
from lightning_flows.plots.canvas import figure, save_png

SIGMA = 0.3
FREQUENCY = 1.7  # curvature up to 2.9: 1/2.9 exceeds the noise, so that points have a projection
RATE = 1e-3
BETAS = (1.0, 3.0, 10.0)
TIKHONOV = 0.01


@dataclass(frozen=True)
class Method:
    """A volume term, with a Tikhonov penalty or without."""

    volume: Callable[[], Volume]
    tikhonov: float = 0.0


METHODS = {
    "exact, through the decoder": Method(ExactVolume),
    "encoder at x̂": Method(partial(FreeFormVolume, at="x_hat")),
    "encoder at x̂, detached": Method(partial(FreeFormVolume, at="x_hat_detached")),
    "encoder at x": Method(FreeFormVolume),
    "encoder at x, Tikhonov": Method(FreeFormVolume, TIKHONOV),
    "exact, Tikhonov": Method(ExactVolume, TIKHONOV),
}


@dataclass(frozen=True)
class Outcome:
    """What training ended in.

    Args:
        nll: mean negative log-density on the curve of test data, nats; NaN where training broke.
        error: mean squared reconstruction error of test data.
        curvature: largest curvature of the curve at the test data.
        flow: the trained flow.
    """

    nll: float
    error: float
    curvature: float
    flow: FreeFormFlow


def sine(n: int, seed: int) -> Tensor:
    """Noisy points on a sine curve, of about unit variance: (n, 2)."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.randn(n, generator=generator)
    clean = torch.stack([t, torch.sin(FREQUENCY * t)], 1)
    return clean + SIGMA * torch.randn(n, 2, generator=generator)


def train(method: Method, beta: float, seed: int, steps: int) -> Outcome:
    """Train one flow."""
    torch.manual_seed(seed)
    coder = {"hidden": (64, 64)}
    flow = FreeFormFlow(
        2,
        latent_features=1,
        encoder=partial(ResidualEncoder, **coder),
        decoder=partial(ResidualDecoder, **coder),
        prior=Normal,
    )
    data, volume = sine(20_000, seed), method.volume()

    def loss(_: int) -> Tensor:
        x = data[torch.randint(len(data), (BATCH,))]
        embedded: Embedded = volume(flow.project, flow.embed, x)
        nll = embedded.log_volume - flow.prior.log_prob(embedded.u)
        nll = nll + beta * (x - embedded.x_hat).square().sum(1)
        if method.tikhonov:
            nll = nll + method.tikhonov * squared_norm(flow.project, x, probes=1)
        return nll

    if not descend(flow, loss, steps, rate=RATE):
        return Outcome(math.nan, math.nan, math.inf, flow)
    return measure(flow, sine(4096, 10_000 + seed))


def measure(flow: FreeFormFlow, x: Tensor) -> Outcome:
    """Exact likelihood on the curve, reconstruction error and largest curvature, in float64."""
    flow = flow.double()
    x = x.double()
    with torch.no_grad():
        u = flow.project(x)
        nll = log_volume(flow.embed, u) - flow.prior.log_prob(u)
        error = (x - flow.embed(u)).square().sum(1)
        kappa = curvature(flow, u)
    return Outcome(nll.mean().item(), error.mean().item(), kappa.max().item(), flow)


def curvature(flow: FreeFormFlow, u: Tensor) -> Tensor:
    """|x′y″ - y′x″| / |g′|³ of the decoded curve: (n, 1) -> (n,)."""

    def point(s: Tensor) -> Tensor:
        return flow.embed(s.reshape(1, 1))[0]

    first = vmap(jacfwd(point))(u[:, 0])
    second = vmap(jacrev(jacfwd(point)))(u[:, 0])  # silu has no second forward derivative
    cross = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    return cross.abs() / first.norm(dim=1).clamp_min(1e-12) ** 3


def table(outcomes: dict[tuple[str, float], list[Outcome]], seeds: int, steps: int) -> str:
    """Markdown with medians over seeds, and the worst curvature."""
    lines = [
        "## A noisy sine, learned as a curve",
        "",
        f"x = (t, sin {FREQUENCY:g}t) + noise of standard deviation {SIGMA:g}, t standard normal; "
        f"one latent with a standard normal prior, residual networks, {steps} steps of 256 points "
        f"with Adam, whose rate rises to {RATE:g} and falls along a cosine, gradients clipped at a "
        f"norm of {CLIP:g}, the whole loss from the first step; {seeds} seeds. β = 1/(2σ²) is "
        f"{1 / (2 * SIGMA**2):.2g}. NLL is the exact one of the decoded curve, in nats, on 4096 "
        "test points; figures are medians over the seeds that stayed finite, NaN "
        f"counts the others. Tikhonov: weight {TIKHONOV:g} on the encoder's Jacobian.",
        "",
        "| volume term | β | NLL on the curve | squared error | curvature: median | worst | NaN |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for (name, beta), runs in outcomes.items():
        sound = [run for run in runs if math.isfinite(run.nll)]
        cells = [
            f"{median(values):.3g}" if values else "–"
            for values in (
                [run.nll for run in sound],
                [run.error for run in sound],
                [run.curvature for run in sound],
            )
        ]
        worst = max((run.curvature for run in sound), default=math.inf)
        broken = len(runs) - len(sound)
        lines.append(f"| {name} | {beta:g} | {' | '.join(cells)} | {worst:.3g} | {broken} |")
    return "\n".join(lines) + "\n"


def picture(outcomes: dict[tuple[str, float], list[Outcome]], path: Path) -> None:
    """Learned curves of the first seed over the data: a row for each β, a column for each term."""
    names = list(dict.fromkeys(name for name, _ in outcomes))
    betas = list(dict.fromkeys(beta for _, beta in outcomes))
    drawing = figure(2.1 * len(names), 1.9 * len(betas))
    x = sine(1500, 0)
    for row, beta in enumerate(betas):
        for column, name in enumerate(names):
            axes = drawing.add_subplot(len(betas), len(names), row * len(names) + column + 1)
            axes.scatter(x[:, 0], x[:, 1], s=1, c="0.8", linewidths=0)
            run = outcomes[name, beta][0]
            if math.isfinite(run.nll):
                with torch.no_grad():
                    ends = run.flow.project(sine(4096, 1).double()).aminmax()
                    u = torch.linspace(float(ends.min), float(ends.max), 2000).double()
                    curve = run.flow.embed(u[:, None])
                axes.plot(curve[:, 0], curve[:, 1], c="tab:red", lw=1.2)
            axes.set(xlim=(-3.6, 3.6), ylim=(-2.6, 2.6), xticks=[], yticks=[])
            if row == 0:
                axes.set_title(name.replace(", ", ",\n"), fontsize=8)
            if column == 0:
                axes.set_ylabel(f"β = {beta:g}", fontsize=9)
            axes.text(0, -2.45, f"curvature {run.curvature:.3g}", ha="center", fontsize=7)
    save_png(drawing, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    parser = command_line(__doc__, "out", "figure", seeds=5, steps=3000)
    options = begin(parser, arguments)
    outcomes: dict[tuple[str, float], list[Outcome]] = {}
    for name, method in METHODS.items():
        for beta in BETAS:
            runs = [train(method, beta, seed, options.steps) for seed in range(options.seeds)]
            outcomes[name, beta] = runs
            text = table(outcomes, options.seeds, options.steps)
            print(text.splitlines()[-1], flush=True)
            write_section(options.out, "stability", text)
    if options.figure:
        picture(outcomes, options.figure)


if __name__ == "__main__":
    main()

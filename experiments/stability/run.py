"""Which volume term keeps joint training stable: a noisy sine, learned as a curve.

    python -m experiments.stability.run

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

import torch
from torch import Tensor
from torch.func import jacfwd, jacrev, vmap

from experiments.common.command import begin, command_line
from experiments.common.results import Results
from experiments.common.training import Budget, fit
from lightning_flows.bases import Normal
from lightning_flows.datamodules import Toy
from lightning_flows.flows import FreeFormFlow
from lightning_flows.jacobians import log_volume
from lightning_flows.modules import FreeFormModule
from lightning_flows.nets import ResidualDecoder, ResidualEncoder
from lightning_flows.objectives import ExactVolume, FreeFormVolume, Tikhonov, Volume
from lightning_flows.plots.canvas import figure, save_png

SIGMA, ROWS, TEST, RATE = 0.3, 25_600, 4096, 1e-3
BETAS = (1.0, 3.0, 10.0)
TIKHONOV = 0.01
FLOW = partial(
    FreeFormFlow,
    latent_features=1,
    encoder=partial(ResidualEncoder, hidden=(64, 64)),
    decoder=partial(ResidualDecoder, hidden=(64, 64)),
    prior=Normal,
)


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


def train(method: Method, beta: float, seed: int, steps: int) -> Outcome:
    """Train one flow on points of its own."""
    data = Toy("noisy_sine", noise=SIGMA, n_train=ROWS, n_val=0, n_test=TEST, seed=seed)
    budget = Budget.of(data, steps)
    torch.manual_seed(seed)
    penalties = [Tikhonov(method.tikhonov)] if method.tikhonov else []
    module = FreeFormModule(
        FLOW,
        data.event_shape,
        volume=method.volume(),
        reconstruction=beta,
        penalties=penalties,
        **budget.recipe(RATE),
    )
    if not fit(module, data, budget):
        return Outcome(math.nan, math.nan, math.inf, module.flow)
    return measure(module.flow, data.load()["test"]["x"])


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


def picture(outcomes: dict[tuple[str, float], list[Outcome]], path: Path) -> None:
    """Learned curves of the first seed over the data: a row for each β, a column for each term."""
    names = list(dict.fromkeys(name for name, _ in outcomes))
    betas = list(dict.fromkeys(beta for _, beta in outcomes))
    drawing = figure(2.1 * len(names), 1.9 * len(betas))
    points = Toy("noisy_sine", noise=SIGMA, n_train=1500, n_test=TEST).load()
    x, test = points["train"]["x"], points["test"]["x"]
    for row, beta in enumerate(betas):
        for column, name in enumerate(names):
            axes = drawing.add_subplot(len(betas), len(names), row * len(names) + column + 1)
            axes.scatter(x[:, 0], x[:, 1], s=1, c="0.8", linewidths=0)
            run = outcomes[name, beta][0]
            if math.isfinite(run.nll):
                with torch.no_grad():
                    ends = run.flow.project(test.double()).aminmax()
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
    parser = command_line(__doc__, "stability", figure=True, seeds=3, steps=3000)
    options = begin(parser, arguments)
    results = Results.begin(options, "stability", sigma=SIGMA, rate=RATE, tikhonov=TIKHONOV)
    outcomes: dict[tuple[str, float], list[Outcome]] = {}
    for seed in range(options.seeds):
        for name, method in METHODS.items():
            for beta in BETAS:
                found = train(method, beta, seed, options.steps)
                outcomes.setdefault((name, beta), []).append(found)
                results.add(
                    options.out,
                    volume=name,
                    beta=beta,
                    seed=seed,
                    nll=found.nll,
                    error=found.error,
                    curvature=found.curvature,
                )
        picture(outcomes, options.figure)


if __name__ == "__main__":
    main()

"""What the likelihood leaves open about components, and the Tikhonov term settles.

    python -m experiments.twist.run

A linear flow is fitted to Gaussian data; its components are the principal components of the data.
Then the latents are turned by an angle that grows with their square norm. That turn preserves
volume and the standard normal, so no likelihood changes, and maximum likelihood has no gradient
that would undo it; but the Jacobian is another one, and with it the spectrum.

Training is a loop of full batches in double precision: the question is about the fixed points of
the objective, which batches and single precision would blur.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments.common.command import begin, command_line
from experiments.common.results import Results
from lightning_flows.components.extract import components
from lightning_flows.flows import Flow
from lightning_flows.objectives import squared_norm
from lightning_flows.plots.canvas import DATA, SERIES, figure, plain, save_png, title
from lightning_flows.transforms import Chain, LULinear, Transform

__all__ = ["Twist", "angles_to", "fit", "gaussian", "main", "twisted"]

SCALES, TURN, POINTS = (2.0, 0.6), math.radians(25), 4000
ALPHA, STEPS = 0.01, 400


class Twist(Transform):
    """Turns the plane of the first two entries y by the angle rate·|y|².

    The turn depends on the radius alone, so it preserves volume and the standard normal. Its
    Jacobian is no rotation: it shears, the more the further out.

    Args:
        features: number of entries of an event.
        rate: angle for |y| = 1, radians; a parameter.
    """

    def __init__(self, features: int, rate: float = 1.0) -> None:
        super().__init__(features)
        self.rate = nn.Parameter(torch.tensor(rate))

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._turned(x, self.rate), x.new_zeros(len(x))

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._turned(z, -self.rate), z.new_zeros(len(z))

    def _turned(self, y: Tensor, rate: Tensor) -> Tensor:
        a, b = y[:, 0], y[:, 1]
        angle = rate * (a.square() + b.square())
        cos, sin = angle.cos(), angle.sin()
        turned = torch.stack([cos * a - sin * b, sin * a + cos * b], 1)
        return torch.cat([turned, y[:, 2:]], 1)


@dataclass(frozen=True)
class History:
    """How a fit went on.

    Args:
        steps: when it was looked at.
        scales: medians over points of the standard deviation along each component, (n, D).
        nll: nats.
    """

    steps: list[int]
    scales: Tensor
    nll: list[float]


def gaussian(scales: Sequence[float], n: int, seed: int = 0, turn: float | None = None) -> Tensor:
    """Centered Gaussian data, (n, D), with these standard deviations along turned axes.

    In double precision: Adam would make steps of full size out of the rounding of a gradient that
    is zero.
    """
    generator = torch.Generator().manual_seed(seed)
    size = len(scales)
    x = torch.randn(n, size, generator=generator).double() * torch.tensor(scales)
    if turn is None:
        axes = torch.linalg.qr(torch.randn(size, size, generator=generator).double()).Q
    else:
        cos, sin = math.cos(turn), math.sin(turn)
        axes = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
    x = x @ axes.T
    return x - x.mean(0)


def linear(features: int) -> Flow:
    """A linear flow, with a twist behind it that does nothing yet."""
    return Flow(Chain([LULinear(features), Twist(features, 0.0)])).double()


def twisted(flow: Flow, rate: float = 1.0) -> Flow:
    """The same density, twisted."""
    flow = copy.deepcopy(flow)
    twist: Any = flow.transform.transforms[-1]
    twist.rate.data.fill_(rate)
    return flow


def fit(flow: Flow, x: Tensor, *, tikhonov: float = 0.0, steps: int = STEPS) -> History:
    """Train on all points at once, by Adam with a learning rate that falls to 0."""
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.03)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    seen, scales, nll = [], [], []
    for step in range(steps + 1):
        loss = -flow.log_prob(x).mean()
        if step % max(1, steps // 40) == 0:
            found = components(flow.encode, flow.decode, x[:500])
            seen.append(step)
            scales.append(found.scales.median(0).values)
            nll.append(loss.item())
        if tikhonov:
            loss = loss + tikhonov * squared_norm(flow.encode, x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    return History(seen, torch.stack(scales), nll)


def pca(x: Tensor) -> tuple[Tensor, Tensor]:
    """Principal axes in rows, widest first, and variances along them."""
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    return vectors.T.flip(0), values.flip(0)


def angles_to(axes: Tensor, reference: Tensor) -> Tensor:
    """Angles between axes (batch, k, D) and those of a reference (k, D), degrees, (batch, k)."""
    cosines = (axes * reference).sum(2).abs().clamp_max(1)
    return cosines.acos().rad2deg()


def picture(x: Tensor, flows: dict[str, Flow], history: History, path: Path) -> None:
    """Components under each flow, and how the spectrum comes back."""
    places = x[torch.cdist(x, _grid(x)).argmin(0)]
    drawing = figure(2.5 * (len(flows) + 1) + 0.4, 2.75, pad=0.05)
    grid = drawing.add_gridspec(1, len(flows) + 1, width_ratios=[1] * len(flows) + [1.15])
    for column, (name, flow) in enumerate(flows.items()):
        panel: Any = drawing.add_subplot(grid[0, column])
        panel.scatter(*x[:500].T, s=4, color=DATA, alpha=0.5, linewidths=0)
        found = components(flow.encode, flow.decode, places)
        for index in range(2):
            arrows = found.axes[:, index] * found.scales[:, index, None] * 0.4
            for sign in (1, -1):
                panel.quiver(
                    *places.T, *(sign * arrows).T, angles="xy", scale_units="xy", scale=1,
                    width=0.008, headwidth=1, headlength=0, headaxislength=0, color=SERIES[index],
                )  # fmt: skip
        panel.set(xlim=(-5, 5), ylim=(-4.4, 4.4), aspect="equal", xticks=[], yticks=[])
        plain(panel, frame=False)
        nll = -flow.log_prob(x).mean().item()
        title(panel, f"{name}\n{nll:.3f} nats")
    panel = drawing.add_subplot(grid[0, -1])
    _, truth = pca(x)
    for index in range(2):
        panel.axhline(truth[index].sqrt().item(), color=SERIES[index], lw=1, ls="--")
        panel.plot(history.steps, history.scales[:, index], color=SERIES[index], lw=1.5)
        panel.annotate(
            f"component {index + 1}", (history.steps[-1], history.scales[-1, index].item()),
            xytext=(0, 4 if index == 0 else -10), textcoords="offset points",
            fontsize=7, color=SERIES[index], ha="right",
        )  # fmt: skip
    panel.set_yscale("log")
    panel.set_yticks([0.3, 0.6, 1, 2, 4], ["0.3", "0.6", "1", "2", "4"])
    panel.minorticks_off()
    panel.set_xlabel("step with Tikhonov term", fontsize=8)
    panel.set_ylabel("standard deviation (median)", fontsize=8)
    title(panel, "spectrum\ndashed: PCA of the data")
    plain(panel)
    save_png(drawing, path)


def _grid(x: Tensor) -> Tensor:
    """Places over the data: an ellipse's rings of one and of two standard deviations."""
    axes, variances = pca(x)
    angles = torch.arange(8) / 8 * 2 * math.pi
    ring = torch.stack([angles.cos(), angles.sin()], 1).double()
    rings = torch.cat([torch.zeros_like(ring[:1]), 0.9 * ring[::2], 1.9 * ring])
    return (rings * variances.sqrt()) @ axes


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    options = begin(command_line(__doc__, "twist", figure=True, steps=STEPS), arguments)
    x = gaussian(SCALES, POINTS, turn=TURN)
    axes, variances = pca(x)
    facts = {"scales": variances.sqrt().tolist(), "points": POINTS, "alpha": ALPHA}
    results = Results.begin(options, "twist", **facts)
    plain_flow = linear(2)
    fit(plain_flow, x, steps=options.steps)
    broken, still, repaired = (twisted(plain_flow) for _ in range(3))
    fit(still, x, steps=options.steps)
    history = fit(repaired, x, tikhonov=ALPHA, steps=options.steps)
    for name, flow, alpha in (
        ("linear", plain_flow, 0.0),
        ("twisted", broken, 0.0),
        ("then maximum likelihood", still, 0.0),
        ("then a Tikhonov term", repaired, ALPHA),
    ):
        found = components(flow.encode, flow.decode, x, tikhonov=alpha)
        results.add(
            options.out,
            flow=name,
            nll=-flow.log_prob(x).mean().item(),
            scales=found.variances.median(0).values.clamp_min(0).sqrt().tolist(),
            angle=angles_to(found.axes, axes)[:, 0].median().item(),
        )
    flows = {
        "linear flow": plain_flow,
        "twisted": broken,
        f"then trained with α = {ALPHA}": repaired,
    }
    picture(x, flows, history, options.figure)


if __name__ == "__main__":
    main()

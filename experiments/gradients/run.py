"""How well each volume strategy agrees with the exact gradient of the log-volume.

    python -m experiments.gradients.run

Each is compared on the parameters that it sends its gradient to, with the exact gradient on these:
that of ½ log det g'ᵀg' at f(x) for the decoder g, and that of -½ log det f'f'ᵀ at x for the encoder
f, which is the same log-volume where f' = (g')⁺. In a coupling flow both are one network, and the
first of the two is the reference. Where each probe chooses its target, a share of the gradient goes
to either network, so that there only the direction is compared.

No module is trained on data here: parameters are compared at points, in double precision.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments.common.command import begin, command_line
from experiments.common.results import Results
from lightning_flows.bases import Normal
from lightning_flows.flows import FreeFormFlow, PaddedFlow, RealNVP
from lightning_flows.flows.injective import InjectiveFlow
from lightning_flows.jacobians import cotangents, log_volume
from lightning_flows.nets import ResidualDecoder, ResidualEncoder
from lightning_flows.objectives import (
    ExactVolume,
    FreeFormVolume,
    PrincipalVolume,
    StochasticVolume,
    Volume,
)
from lightning_flows.plots.canvas import (
    ACCENT,
    MODEL,
    SMALL,
    figure,
    legend,
    plain,
    save_png,
    title,
)

__all__ = ["Agreement", "agreements", "main"]

FEATURES, LATENT, BATCH, PROBES = 6, 3, 64, 64
FLOWS = {"padded": "coupling flow", "free": "free-form nets"}
STATES = ("random", "trained")
NETWORKS = {"encoder": ("encoder",), "decoder": ("decoder",), "probe": ("encoder", "decoder")}


@dataclass(frozen=True)
class Agreement:
    """An estimate of the gradient beside the exact one.

    Args:
        strategy: which.
        flow: coupling flow or free-form nets.
        state: of the parameters, random or trained.
        cosine: between the mean over probes and the exact gradient.
        bias: norm of the difference of these two over the norm of the exact gradient, the error
            of the mean included.
        noise: standard error of the mean in the same unit.
        single: mean cosine of estimates from one probe for each point.
    """

    strategy: str
    flow: str
    state: str
    cosine: float
    bias: float
    noise: float
    single: float


def strategies(probes: int) -> dict[str, Volume]:
    """All strategies by name, with this many probes where there are any."""
    found: dict[str, Volume] = {
        "exact": ExactVolume(),
        "exact, chunks": ExactVolume(chunk_size=2),
        "stochastic, direct": StochasticVolume(probes),
        "stochastic, CG": StochasticVolume(probes, direct=0),
    }
    places = {"x": "x", "x_hat": "x̂", "x_hat_detached": "x̂ detached"}
    for target in ("encoder", "decoder", "probe"):
        for at, place in places.items():
            found[f"free-form, {target} at {place}"] = FreeFormVolume(
                target=target,  # type: ignore[arg-type]
                at=at,  # type: ignore[arg-type]
                probes=probes,
            )
    found["principal"] = PrincipalVolume()
    return found


def agreements(kind: str, state: str, *, steps: int, draws: int) -> list[Agreement]:
    """Compare all strategies at one set of parameters, in float64.

    Args:
        kind: padded or free.
        state: random or trained.
        steps: of joint training with the exact volume, where `state` is trained.
        draws: number of gradients, of 64 probes for each point each, that are averaged.
    """
    torch.manual_seed(0)
    flow = make(kind).double()
    if state == "random":
        with torch.no_grad():
            for parameter in flow.parameters():
                parameter.add_(0.15 * torch.randn_like(parameter))
    else:
        train(flow, steps)
    x = points(BATCH)
    many, one = strategies(PROBES), strategies(1)
    found = []
    for name, volume in many.items():
        target = volume.target if isinstance(volume, FreeFormVolume) else "decoder"
        exact = reference(flow, target, x)
        random = isinstance(volume, StochasticVolume | FreeFormVolume)
        count = draws if random else 1
        samples = torch.stack([gradient(flow, target, volume, x) for _ in range(count)])
        center, size = samples.mean(0), exact.norm()
        noise = samples.var(0).sum().div(count).sqrt() / size if count > 1 else torch.tensor(0.0)
        bias = (center - exact).norm() / size
        if target == "probe" and kind == "free":
            bias, noise = torch.tensor(torch.nan), torch.tensor(torch.nan)
        single = [
            cosine(gradient(flow, target, one[name], x), exact).item()
            for _ in range(count if random else 1)
        ]
        found.append(
            Agreement(
                name,
                FLOWS[kind],
                state,
                cosine(center, exact).item(),
                bias.item(),
                noise.item(),
                sum(single) / len(single),
            )
        )
    return found


def make(kind: str) -> InjectiveFlow:
    """A small flow from 3 latents to 6 dimensions."""
    if kind == "padded":
        ambient = partial(RealNVP, layers=6, hidden=(32, 32), activation="tanh")
        return PaddedFlow(FEATURES, latent_features=LATENT, ambient=ambient, prior=Normal)
    return FreeFormFlow(
        FEATURES,
        latent_features=LATENT,
        encoder=partial(ResidualEncoder, hidden=(32, 32)),
        decoder=partial(ResidualDecoder, hidden=(32, 32)),
        prior=Normal,
    )


def points(n: int) -> Tensor:
    """Points near a curved three-dimensional surface: (n, 6)."""
    t = torch.randn(n, LATENT, dtype=torch.float64)
    bent = torch.stack([t[:, 0].sin(), 0.5 * t[:, 1] * t[:, 2].tanh(), t[:, 2].cos()], 1)
    clean = torch.cat([t, bent], 1)
    return clean + 0.05 * torch.randn_like(clean)


def train(flow: InjectiveFlow, steps: int) -> None:
    """Joint training with the exact volume and β = 50."""
    optimizer, volume = torch.optim.Adam(flow.parameters(), lr=2e-3), ExactVolume()
    for _ in range(steps):
        x = points(128)
        embedded = volume(flow.project, flow.embed, x)
        negative = embedded.log_volume - flow.prior.log_prob(embedded.u)
        loss = negative + 50 * (x - embedded.x_hat).square().sum(1)
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()


def networks(flow: InjectiveFlow, target: str) -> list[nn.Module]:
    """The networks that a target sends its gradient to."""
    if isinstance(flow, PaddedFlow):
        return [flow.ambient]
    return [flow.get_submodule(name) for name in NETWORKS[target]]


def gradient(flow: InjectiveFlow, target: str, volume: Volume, x: Tensor) -> Tensor:
    """Of the mean log-volume, as a strategy has it: one vector."""
    value = volume(flow.project, flow.embed, x).log_volume.mean()
    return torch.cat([flat(value, network) for network in networks(flow, target)])


def reference(flow: InjectiveFlow, target: str, x: Tensor) -> Tensor:
    """The exact gradient on the same parameters."""
    decoded = log_volume(flow.embed, flow.project(x)).mean()
    if isinstance(flow, PaddedFlow):
        return flat(decoded, flow.ambient)
    values = {"encoder": encoder_volume(flow.project, x).mean(), "decoder": decoded}
    parts = [flat(values[name], flow.get_submodule(name)) for name in NETWORKS[target]]
    return torch.cat(parts)


def encoder_volume(encode: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """-½ log det f'f'ᵀ at x: (batch,), nats."""
    basis = torch.eye(LATENT, dtype=x.dtype)[:, None].expand(-1, len(x), -1)
    rows = cotangents(encode, x, basis)[1].transpose(0, 1)
    volume: Tensor = -0.5 * torch.logdet(rows @ rows.mT)
    return volume


def flat(value: Tensor, network: nn.Module) -> Tensor:
    """Gradient with respect to all parameters of a network, in one vector."""
    found = torch.autograd.grad(
        value, list(network.parameters()), retain_graph=True, materialize_grads=True
    )
    return torch.cat([part.flatten() for part in found])


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Of the angle between two vectors."""
    return (a @ b) / (a.norm() * b.norm()).clamp_min(torch.finfo(a.dtype).tiny)


def picture(found: Sequence[Agreement], path: Path) -> None:
    """Cosine and relative bias of every strategy, for both flows and both states."""
    drawing = figure(9.2, 3.6, pad=0.05)
    names = list(dict.fromkeys(a.strategy for a in found))
    for panel, (flow, quantity) in enumerate(
        (flow, quantity) for flow in FLOWS.values() for quantity in ("cosine", "bias")
    ):
        axes: Any = drawing.add_subplot(1, 4, panel + 1)
        for state, color, shift in zip(STATES, (ACCENT, MODEL), (-0.14, 0.14), strict=True):
            chosen = {a.strategy: a for a in found if (a.flow, a.state) == (flow, state)}
            values = [getattr(chosen[name], quantity) for name in names]
            if quantity == "bias":  # exact to rounding: at the left edge
                values = [max(value, 1e-3) for value in values]
            rows = [row + shift for row in range(len(names))]
            label = f"{state} parameters" if panel == 0 else None
            axes.scatter(values, rows, s=22, color=color, label=label, zorder=2, clip_on=False)
        axes.set(ylim=(len(names) - 0.4, -0.6))
        axes.set_yticks(range(len(names)), names if panel == 0 else [""] * len(names))
        axes.grid(axis="y", color="0.92", lw=0.8, zorder=0)
        axes.set_axisbelow(True)
        if quantity == "cosine":
            axes.axvline(1, color="0.7", lw=0.8)
            axes.set_xlim(min(0, *(a.cosine for a in found)) - 0.05, 1.02)
        else:
            highest = max(a.bias for a in found if math.isfinite(a.bias))
            axes.set(xscale="log", xlim=(1e-3, 2 * max(2, highest)))
        plain(axes)
        axes.set_xlabel("cosine" if quantity == "cosine" else "relative bias", fontsize=SMALL)
        title(axes, flow)
    legend(drawing)
    save_png(drawing, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    parser = command_line(__doc__, "gradients", figure=True, steps=500, draws=4)
    options = begin(parser, arguments)
    sizes = {"features": FEATURES, "latents": LATENT, "points": BATCH, "probes": PROBES}
    results = Results.begin(options, "gradients", **sizes)
    found = []
    for kind in FLOWS:
        for state in STATES:
            some = agreements(kind, state, steps=options.steps, draws=options.draws)
            for agreement in some:
                results.add(options.out, **vars(agreement))
            found += some
    picture(found, options.figure)


if __name__ == "__main__":
    main()

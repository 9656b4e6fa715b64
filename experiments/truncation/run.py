r"""How many latents the truncation curve picks for surfaces in R^20 and for tables of known rank.

    LIGHTNING_FLOWS_DATA=data python -m experiments.truncation.run

Sphere and torus are put into R^20 by a random orthogonal map, with noise along all directions, and
learned by injective flows with 6 latents. The tables are those of `experiments.ranks`, and so are
their flows, whose latents are as many as columns. Latents are ordered on the training data, and
cut on test data; one rule for all (`metrics.TruncationCurve.dimension`) says how many count.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from experiments.common.command import begin, command_line
from experiments.common.results import Results
from experiments.common.tables import TABLES, in_memory
from experiments.common.training import Budget, fit
from experiments.ranks.run import (
    BATCH,
    FLOWS,
    POINTS,
    RANKS,
    RATE,
    THRESHOLD,
    choose_noise,
    principal_axes,
    train,
)
from lightning_flows.bases import Normal
from lightning_flows.components.extract import components
from lightning_flows.core.shapes import Shape
from lightning_flows.datamodules import Toy
from lightning_flows.datamodules.toy import ToyName
from lightning_flows.flows import Flow, FreeFormFlow
from lightning_flows.metrics import TruncationCurve, latent_order, truncation_curve
from lightning_flows.modules import DensityModule, VariationalModule
from lightning_flows.nets import MLPDecoder, MLPEncoder

__all__ = ["NAMES", "NOISE", "Outcome", "embedded", "main", "surface", "table"]

NAMES: tuple[ToyName, ...] = ("sphere", "torus")
DIMENSION, SPACE, LATENTS = 2, 20, 6
NOISE, RATE_ON_SURFACES = 0.05, 3e-3
COUNTED = 100  # points whose own dimensions are counted
HIDDEN = {"hidden": (128, 128)}


@dataclass(frozen=True)
class Outcome:
    """What a truncation says.

    Args:
        noise: variance 2α of the noise.
        curve: errors and likelihoods with 0 to d latents, on test data.
        dimension: number of latents that count.
        local: median number of directions that count around a point.
    """

    noise: float
    curve: TruncationCurve
    dimension: int
    local: float


def embedded(name: ToyName, seed: int, space: int = SPACE) -> dict[str, Tensor]:
    """Points of a surface in this many dimensions with noise: "train", "val" and "test"."""
    generator = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(space, 3, generator=generator)).Q
    found = {}
    for split, fields in Toy(name, noise=0.0, seed=seed).load().items():
        noise = torch.randn(len(fields["x"]), space, generator=generator)
        found[split] = fields["x"] @ axes.T + NOISE * noise
    return found


def surface(rows: Tensor, test: Tensor, *, seed: int, steps: int) -> Outcome:
    """Train an injective flow on noisy points of a surface, and truncate it."""
    data = in_memory({"train": rows}, BATCH, seed)
    budget = Budget.of(data, steps)
    flow = partial(
        FreeFormFlow,
        latent_features=LATENTS,
        encoder=partial(MLPEncoder, **HIDDEN),
        decoder=partial(MLPDecoder, **HIDDEN),
        prior=Normal,
    )
    torch.manual_seed(seed)
    recipe = budget.recipe(RATE_ON_SURFACES)
    module = VariationalModule(flow, rows.shape[1], scale=NOISE, **recipe)
    if not fit(module, data, budget):
        raise ArithmeticError("a parameter is not finite.")
    return truncated(module, rows, test, NOISE**2)


def table(
    make: Callable[[Shape], Flow], rows: Tensor, test: Tensor, *, seed: int, steps: int
) -> Outcome:
    """Train a flow on rows of a table as `experiments.ranks` does, and truncate it."""
    turn, variance = principal_axes(rows), choose_noise(rows)
    module = train(make, rows @ turn, variance=variance, seed=seed, steps=steps)
    return truncated(module, rows @ turn, test @ turn, variance)


def truncated(
    module: DensityModule | VariationalModule, rows: Tensor, test: Tensor, variance: float
) -> Outcome:
    """Order latents on the first training rows, and cut them on test rows."""
    noise, (rows, test) = variance**0.5, (rows[:POINTS], test[:POINTS])
    with torch.no_grad():
        order = latent_order(module.decode, module.encode(rows))
    curve = truncation_curve(module.encode, module.decode, test, order.directions)
    dimension = curve.dimension(noise=noise, threshold=THRESHOLD)
    options = {"noise": noise, "threshold": THRESHOLD}
    found = components(module.encode, module.decode, test[:COUNTED], **options)
    return Outcome(variance, curve, dimension, found.dimension.median().item())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    parser = command_line(__doc__, "truncation", data=True, seeds=10, steps=1500)
    options = begin(parser, arguments)
    facts = {
        "dimensions": dict.fromkeys(NAMES, DIMENSION) | RANKS,
        "threshold": THRESHOLD,
        "points": POINTS,
        "batch": BATCH,
        "space": SPACE,
        "noise": NOISE,
        "rates": [RATE_ON_SURFACES, RATE],
    }
    results = Results.begin(options, "truncation", **facts)

    def add(data: str, flow: str, seed: int, found: Outcome) -> None:
        results.add(
            options.out,
            data=data,
            flow=flow,
            seed=seed,
            noise=found.noise,
            dimension=found.dimension,
            likeliest=int(found.curve.nll.argmin()),
            local=found.local,
            error=found.curve.error.tolist(),
            nll=found.curve.nll.tolist(),
        )

    for seed in range(options.seeds):
        given = {"seed": seed, "steps": options.steps}
        for name in NAMES:
            points = embedded(name, seed)
            add(name, "free-form", seed, surface(points["train"], points["test"], **given))
        for name in RANKS:
            rows = TABLES[name].load(options.data, seed)
            for flow, make in FLOWS.items():
                add(name, flow, seed, table(make, rows["train"], rows["test"], **given))


if __name__ == "__main__":
    main()

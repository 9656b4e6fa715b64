"""Whether a loss is still a negative log-density of data space."""

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_flows.core.errors import ShapeError, check_least
from lightning_flows.core.noise import Resampled
from lightning_flows.metrics.mass import Mass, mass_of_draws
from lightning_flows.metrics.proposal import draws_around

from .base import FlowCallback, Result, Scene, Task, chunks, joined
from .drawing.writer import Drawing

__all__ = ["MassCertificate"]

CHUNK = 256  # draws that are scored at a time
HEAVIEST = 64  # draws that the NPZ file holds
TRIED = 16  # draws of each chunk that are scored again, to see whether the loss has noise
NOISE = 1e-3  # nats, and relative, that rounding alone may change


class MassCertificate(FlowCallback):
    """Measures the mass M = ∫ exp(-loss(x)) dx, and warns once where it is above 1.

    A loss with M ≤ 1 is at least the negative log of a density, so that its mean over data is at
    least their differential entropy, and no parameters let it fall without end. With M > 1 it may
    fall to the entropy minus log M: parameters can then lower the loss by what is no likelihood,
    as those of injective flows can, whose loss is prior, log-volume and weighted squared residual.

    The loss is the module's `objective_nll(x)`, (batch, *event) to (batch,), nats in units of the
    data. M is estimated by importance sampling around fixed points of the data (see
    `metrics.log_mass`), of which there must be more than entries in an event. A conditional module
    is given the context of the first of them.

    A loss that draws noise, such as a bound by one draw of a posterior, is averaged over `repeats`
    evaluations, since noise of variance v would make the mass e^(v/2) times as large. For the noise
    that is left s²/(2 repeats) is added, with s² the variance among the evaluations, which is exact
    to first order.

    Logged are `<name>/log_mass` (nats), `<name>/standard_error` (of M, relative),
    `<name>/effective_samples`, `<name>/nan_share` and `<name>/log_lower` (log of a lower confidence
    bound of M), with `val/` before them in fit and validate, and `test/` in a test. The warning
    comes where M is above 1 by more than three standard errors, which chance alone brings about
    once in 500 estimates or more; log M says how much it matters. A mass below 1 proves nothing in
    many dimensions, where draws miss most of it. The NPZ file holds the 64 draws of the largest
    weights, which show where the mass is, and what is logged.

    Args:
        samples: number of draws.
        points: number of data points that the draws are taken around.
        repeats: evaluations of a loss with noise at each draw; one without is evaluated once.
        every_n_epochs: how often to measure; 0 measures at the end of fit only, where nothing can
            be logged.
        seed: starting point of the draws, and of random numbers of the loss where it has any.
        name: folder of the files, and part of the names in loggers.

    Raises:
        ConfigError: an option is out of range.
    """

    needs: ClassVar[tuple[str, ...]] = ("objective_nll",)

    def __init__(
        self,
        samples: int = 10_000,
        *,
        points: int = 1000,
        repeats: int = 8,
        every_n_epochs: int = 10,
        seed: int = 0,
        name: str = "mass",
    ) -> None:
        super().__init__(name, points=points, every_n_epochs=every_n_epochs, seed=seed)
        check_least(2, samples=samples, repeats=repeats)
        self.samples = samples
        self.repeats = repeats
        self._told = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the module, and be ready to warn."""
        super().setup(trainer, pl_module, stage)
        self._told = False

    def work(self, scene: Scene) -> list[Task]:
        """The draws, some at a time."""
        draws, log_proposal = draws_around(scene.points.x, self.samples, seed=self.seed)
        return [
            partial(_score, scene, draws[start:stop], log_proposal[start:stop], self.repeats)
            for start, stop in chunks(self.samples, CHUNK)
        ]

    def scalars(self, results: list[Result]) -> Mapping[str, float]:
        """The estimate, its errors and its lower bound."""
        return {f"{self.name}/{key}": value for key, value in _mass(results)._asdict().items()}

    def draw(self, scene: Scene, results: list[Result]) -> Drawing:
        """Warn where the mass is above 1; keep the draws of the largest weights."""
        mass = _mass(results)
        if mass.exceeds_one and not self._told:
            self._told = True
            rank_zero_warn(
                "The loss is no negative log-likelihood any more: exp(-loss) has mass "
                f"exp({mass.log_mass:.4g}) with a relative standard error of "
                f"{mass.standard_error:.2g}, and a density has mass 1. The mean loss may lie up to "
                f"{mass.log_mass:.4g} nats below the entropy of the data: do not compare it with a "
                "likelihood, and take an objective that bounds one if it keeps falling."
            )
        loss, log_proposal = joined(results, "loss").double(), joined(results, "log_proposal")
        log_weights = (-loss - log_proposal).nan_to_num(-torch.inf, torch.inf, -torch.inf)
        heaviest = log_weights.argsort(descending=True, stable=True)[:HEAVIEST]
        arrays = {
            "x": joined(results, "x")[heaviest],
            "loss": loss[heaviest],
            "log_weight": log_weights[heaviest],
            **{
                key: torch.tensor(value, dtype=torch.float64)
                for key, value in mass._asdict().items()
            },
        }
        return Drawing({}, arrays)


def _score(scene: Scene, draws: Tensor, log_proposal: Tensor, repeats: int) -> Result:
    x, (_, context) = scene.move(draws), scene.batch(0, 1)

    def objective(n: int, repeat: int) -> Tensor:
        rows = tuple(entry.expand(n, *entry.shape[1:]) for entry in context)
        with Resampled(repeat):
            loss: Tensor = scene.module.objective_nll(x[:n], *rows)
        if loss.shape != (n,):
            raise ShapeError(
                f"objective_nll of {type(scene.module).__name__} gave shape {tuple(loss.shape)} "
                f"for {n} points; expected is one loss a point, (batch,)."
            )
        return loss.cpu().double()

    loss = objective(len(x), 0)
    again = objective(min(TRIED, len(x)), 1)
    if not again.allclose(loss[:TRIED], rtol=NOISE, atol=NOISE, equal_nan=True):
        losses = torch.stack([loss, *(objective(len(x), k) for k in range(1, repeats))])
        # infinite losses have no variance
        loss = losses.mean(0) + losses.var(0).nan_to_num(0.0) / (2 * repeats)
    return {"x": draws, "loss": loss, "log_proposal": log_proposal}


def _mass(results: list[Result]) -> Mass:
    return mass_of_draws(joined(results, "loss"), joined(results, "log_proposal"))

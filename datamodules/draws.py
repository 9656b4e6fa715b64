"""Draws of a known density, and of contexts."""

from typing import Any

import torch

from lightning_flows.bases import Density
from lightning_flows.core.errors import ConfigError, ShapeError, check_least
from lightning_flows.core.recipe import build_part, is_recipe, to_recipe
from lightning_flows.transforms.bijections.standardize import Standardize

from .base import FlowDataModule, Splits
from .readers.options import whole

__all__ = ["Draws"]


class Draws(FlowDataModule):
    """Draws of a density, such as a target, for each draw of a context where there are contexts.

    Training on data takes them as data. `EnergyModule` trains on a target and draws its own points:
    it takes from here the number of steps, contexts, and points that say where to start and what to
    draw pictures beside; where the target cannot be drawn from, a wide normal serves,
    `Draws(Normal(2, scale=5.0))`. Draws depend on the seed alone.

    Args:
        density: of the points.
        contexts: density of contexts, which has none itself: `Uniform(1, low=-2.0, high=1.0)`.
            Points are drawn given them where `density` is conditional.
        n_train: points to train on.
        n_val: points to validate on.
        n_test: points to test on.
        standardize: preprocess to zero mean and unit variance.
        batch_size: points in a batch, on each device.
        seed: starting point of the draws and of the order of training data.

    Raises:
        ConfigError: no density, or no training points.
        ShapeError: `density` is conditioned on contexts that do not come.
    """

    def __init__(
        self,
        density: Density,
        *,
        contexts: Density | None = None,
        n_train: int = 10_000,
        n_val: int = 1_000,
        n_test: int = 5_000,
        standardize: bool = False,
        batch_size: int = 256,
        seed: int = 0,
    ) -> None:
        density = _part(density, "density")
        contexts = None if contexts is None else _part(contexts, "contexts")
        given = None if contexts is None else contexts.event_shape
        if density.context_shape not in (None, given):
            raise ShapeError(
                f"density {type(density).__name__} is conditioned on contexts of shape "
                f"{density.context_shape}; contexts have shape {given}."
            )
        if contexts is not None and contexts.context_shape is not None:
            raise ShapeError(
                f"contexts follow a {type(contexts).__name__} that is conditioned itself; give a "
                "density without context."
            )
        sizes = {"n_train": n_train, "n_val": n_val, "n_test": n_test}
        n_train, n_val, n_test = (whole(n, name) for name, n in sizes.items())
        check_least(1, n_train=n_train)
        check_least(0, n_val=n_val, n_test=n_test)
        super().__init__(
            density.event_shape,
            context_shape=given,
            preprocess=Standardize(density.event_shape) if standardize else None,
            batch_size=batch_size,
            seed=seed,
        )
        parts = {"density": to_recipe(density), "contexts": to_recipe(contexts)}
        numbers = {"n_train": n_train, "n_val": n_val, "n_test": n_test, "seed": self.seed}
        options = {"standardize": standardize, "batch_size": self.batch_size}
        self.save_hyperparameters({**parts, **numbers, **options}, logger=False)
        self.density = density
        self.contexts = contexts
        self._sizes = {"train": n_train, "val": n_val, "test": n_test}

    @torch.no_grad()
    def load(self) -> Splits:
        splits = {}
        with torch.random.fork_rng(devices=[]):
            for place, (split, n) in enumerate(self._sizes.items()):
                if not n:
                    continue
                torch.manual_seed(3 * self.seed + place)
                fields = {} if self.contexts is None else {"context": self.contexts.draw(n)}
                conditional = self.density.context_shape is not None
                x = self.density.draw(n, fields["context"] if conditional else None)
                splits[split] = {"x": x, **fields}
        return splits


def _part(value: Any, name: str) -> Density:
    part = build_part(value, Density) if is_recipe(value) else value
    if not isinstance(part, Density):
        raise ConfigError(
            f"{name} is {value!r}; accepted are densities, such as Normal(2) or targets.Ring()."
        )
    return part

"""Small distributions to look at: in the plane, and on curves and surfaces."""

from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_flows.core.errors import ConfigError, check_from_zero, check_least
from lightning_flows.core.shapes import check_batch
from lightning_flows.transforms.bijections.standardize import Standardize

from .base import FlowDataModule, Splits
from .readers.options import whole
from .toys.directions import DIRECTIONS
from .toys.exchangeable import EXCHANGEABLE
from .toys.manifolds import MANIFOLDS
from .toys.plane import PLANE
from .toys.toy_set import ToySet

__all__ = ["Toy", "ToyName"]

ToyName = Literal[
    "moons",
    "checkerboard",
    "corner_checkerboard",
    "rings",
    "signed_rings",
    "spiral",
    "swiss_roll",
    "s_curve",
    "sphere",
    "torus",
    "von_mises_circle",
    "noisy_sine",
    "sets",
    "von_mises_fisher",
    "wrapped_normal",
    "dirichlet",
]

_SETS: dict[str, ToySet] = {**PLANE, **MANIFOLDS, **EXCHANGEABLE, **DIRECTIONS}


class Toy(FlowDataModule):
    """Samples of a known distribution, of size about one; most of them are centered.

    In the plane: moons, checkerboard, rings, spiral; corner_checkerboard and signed_rings, which
    are alike under changes of sign. On manifolds, to which noise may be added: swiss_roll,
    s_curve, sphere and torus (surfaces in space), von_mises_circle and noisy_sine (curves in the
    plane). Four numbers in a random order: sets. On manifolds that flows know: von_mises_fisher
    (the sphere), wrapped_normal (two angles), dirichlet (the simplex, with a parameter below 1).
    Validation and test data do not change with the number of training points.

    Args:
        name: which distribution.
        n_train: points to train on.
        n_val: points to validate on.
        n_test: points to test on.
        noise: standard deviation of Gaussian noise; a value that suits the distribution by
            default. It is radial for rings and
            signed_rings.
        standardize: preprocess to zero mean and unit variance.
        batch_size: points in a batch, on each device.
        seed: starting point of the samples and of the order of training data.

    Attributes:
        manifold_dimension: dimension of the manifold; that of the data where there is none.
        noise: standard deviation of the noise.

    Raises:
        ConfigError: an unknown name, negative noise, or no training points.
    """

    def __init__(
        self,
        name: ToyName = "moons",
        *,
        n_train: int = 10_000,
        n_val: int = 2_000,
        n_test: int = 5_000,
        noise: float | None = None,
        standardize: bool = False,
        batch_size: int = 256,
        seed: int = 0,
    ) -> None:
        if name not in _SETS:
            raise ConfigError(f"Toy has no {name!r}; accepted are {', '.join(get_args(ToyName))}.")
        check_from_zero(noise=noise)
        n_train, n_val, n_test = (
            whole(n, name)
            for n, name in ((n_train, "n_train"), (n_val, "n_val"), (n_test, "n_test"))
        )
        check_least(1, n_train=n_train)
        check_least(0, n_val=n_val, n_test=n_test)
        self._set = _SETS[name]
        event_shape = (self._set.dimension,)
        super().__init__(
            event_shape,
            preprocess=Standardize(event_shape) if standardize else None,
            batch_size=batch_size,
            seed=seed,
        )
        self.save_hyperparameters(logger=False)
        self.noise = self._set.noise if noise is None else noise
        self.manifold_dimension = self._set.manifold_dimension
        self._sizes = {"train": n_train, "val": n_val, "test": n_test}

    @property
    def has_true_log_prob(self) -> bool:
        """Whether the density is known in closed form."""
        return self._set.log_prob is not None

    def true_log_prob(self, x: Tensor) -> Tensor:
        """Log-density of the distribution itself.

        For a distribution in the plane the density includes the noise. On a manifold it is the
        density without noise, with respect to length or area on the manifold, at the point of it
        that belongs to x.

        Args:
            x: points in original units, (batch, *event_shape).

        Returns:
            Nats, (batch,); -inf outside the support.

        Raises:
            ConfigError: there is no closed form (moons, spiral; rings, signed_rings and sets with
                noise 0).
        """
        if self._set.log_prob is None:
            raise ConfigError(f"{self.hparams['name']} has no density in closed form.")
        check_batch(x, self.event_shape, "x")
        return self._set.log_prob(x, self.noise)

    def load(self) -> Splits:
        splits = {}
        for place, (split, n) in enumerate(self._sizes.items()):
            if n:
                generator = torch.Generator().manual_seed(3 * self.seed + place)
                points = self._set.sample(n, self.noise, generator)
                splits[split] = {"x": points.to(torch.get_default_dtype())}
        return splits

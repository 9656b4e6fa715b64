"""Zero mean and unit variance, from statistics of the training data."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lightning_flows.errors import ConfigError, DataError, check_from_zero
from lightning_flows.shapes import check_batch
from lightning_flows.transforms.base import Transform

__all__ = ["Standardise"]


class Standardise(Transform):
    """Subtracts a mean and divides by a standard deviation, for every entry of an event.

    The statistics are buffers, set once by `fit`; until then the map is the identity.

    Args:
        event_shape: shape of one data point.
        minimum_scale: entries with a smaller standard deviation are divided by this number
            instead; 0 refuses constant entries.
        untouched: entries of a vector that stay as they are (columns of categories).

    Attributes:
        mean: (*event_shape).
        std: (*event_shape).
        fitted: whether `fit` has set the statistics, a boolean scalar.
    """

    mean: Tensor
    std: Tensor
    fitted: Tensor

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        minimum_scale: float = 0.0,
        untouched: Sequence[int] = (),
    ) -> None:
        check_from_zero(minimum_scale=minimum_scale)
        super().__init__(event_shape)
        features = self.event_shape[0] if len(self.event_shape) == 1 else 0
        if not {*untouched} <= {*range(features)}:
            raise ConfigError(
                f"untouched is {list(untouched)}; accepted are entries of a vector, and events "
                f"have shape {self.event_shape}."
            )
        self.minimum_scale = minimum_scale
        self.untouched = list(untouched)
        self.register_buffer("mean", torch.zeros(self.event_shape))
        self.register_buffer("std", torch.ones(self.event_shape))
        self.register_buffer("fitted", torch.tensor(False))

    @torch.no_grad()
    def fit(self, x: Tensor | Iterable[Tensor]) -> None:
        """Take mean and standard deviation from data.

        Args:
            x: data, (batch, *event_shape), or an iterable of such pieces; two rows or more.

        Raises:
            DataError: too few rows, a value that is not finite, or an entry that is constant.
        """
        rows, mean, squares = 0, torch.zeros(()).double(), torch.zeros(()).double()
        for piece in [x] if isinstance(x, Tensor) else x:
            check_batch(piece, self.event_shape, "x")
            if len(piece) == 0:
                continue
            values = piece.to(torch.promote_types(piece.dtype, torch.float32))
            own_mean = values.mean(0)
            own_squares = (values - own_mean).square().sum(0)
            # Chan et al. 1979: statistics of the union of two samples
            difference, rows = own_mean - mean, rows + len(piece)
            mean = mean + difference * len(piece) / rows
            squares = squares + own_squares
            squares = squares + difference.square() * len(piece) * (rows - len(piece)) / rows
        if rows < 2:
            raise DataError(f"Standardise needs at least 2 rows to fit; came {rows}.")
        std = (squares / (rows - 1)).sqrt()
        mean[self.untouched], std[self.untouched] = 0.0, 1.0
        if not (mean.isfinite().all() and std.isfinite().all()):
            raise DataError("Standardise cannot fit data that holds NaN or infinite values.")
        # rounding alone gives a constant column of large numbers a tiny deviation
        rounding = mean.abs() * torch.finfo(values.dtype).eps * 4
        std = torch.where(std <= rounding, 0, std).clamp(self.minimum_scale)
        if not std.all():
            columns = (std.flatten() == 0).nonzero().flatten().tolist()
            raise DataError(
                f"Standardise cannot divide by a standard deviation of 0: constant columns "
                f"{_listed(columns)}; drop them or set minimum_scale."
            )
        self.mean.copy_(mean)
        self.std.copy_(std)
        self.fitted.fill_(True)

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_batch(x, self.event_shape, "x")
        return (x - self.mean) / self.std, self._contribution(x)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_batch(z, self.event_shape, "z")
        return z * self.std + self.mean, self._contribution(z)

    def _contribution(self, x: Tensor) -> Tensor:
        return -self.std.log().sum().expand(len(x))


def _listed(columns: list[int]) -> str:
    shown = ", ".join(map(str, columns[:8]))
    return f"{shown} and {len(columns) - 8} more" if len(columns) > 8 else shown

"""Zero mean and unit variance, from statistics of the training data."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from lightning_flows.core.errors import ConfigError, DataError, check_from_zero
from lightning_flows.core.shapes import check_batch
from lightning_flows.core.support import REAL, Support, set_of_each
from lightning_flows.transforms.base import Transform

__all__ = ["Standardize"]


class Standardize(Transform):
    """Subtracts a mean and divides by a standard deviation, for every entry of an event.

    The statistics are buffers, set once by `fit`; until then the map is the identity. They are
    float64 and stay so when the module is cast to another type (float32 on MPS, which has nothing
    wider), and the map is computed in their type: values of 1.7e9 ± 100, as of timestamps, keep
    their digits. What comes out of `encode` has the type of x, so double precision that goes in
    may be cast to single precision after it, not before. `decode` gives the type of z, or float64
    where the data to fit was float64.

    Args:
        event_shape: shape of one data point.
        minimum_scale: entries with a smaller standard deviation are divided by this number
            instead; 0 refuses constant entries.
        untouched: entries of a vector that stay as they are (columns of categories, angles).
        support: set that data lies in, where untouched entries lie in other sets than all reals.

    Attributes:
        mean: (*event_shape), float64.
        std: (*event_shape), float64.
        fitted: whether `fit` has set the statistics, a boolean scalar.
        wide: whether the data to fit was float64, a boolean scalar.
    """

    mean: Tensor
    std: Tensor
    fitted: Tensor
    wide: Tensor

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        minimum_scale: float = 0.0,
        untouched: Sequence[int] = (),
        support: Support = REAL,
    ) -> None:
        check_from_zero(minimum_scale=minimum_scale)
        super().__init__(event_shape, domain=support, codomain=support)
        features = self.event_shape[0] if len(self.event_shape) == 1 else 0
        if not {*untouched} <= {*range(features)}:
            raise ConfigError(
                f"untouched is {list(untouched)}; accepted are entries of a vector, and events "
                f"have shape {self.event_shape}."
            )
        if support != REAL:
            support.check(self.event_shape)
            sets = set_of_each(support, features)
            touched = [i for i in range(features) if i not in untouched and sets[i] != REAL]
            if touched:
                raise ConfigError(
                    f"untouched is {list(untouched)}; columns {touched} do not lie in all reals, "
                    "and must be among them."
                )
        self.minimum_scale = minimum_scale
        self.untouched = list(untouched)
        self.register_buffer("mean", torch.zeros(self.event_shape, dtype=torch.float64))
        self.register_buffer("std", torch.ones(self.event_shape, dtype=torch.float64))
        self.register_buffer("fitted", torch.tensor(False))
        self.register_buffer("wide", torch.tensor(False))
        self._gives_float64 = False  # `wide` for the interpreter, which compiled code can ask

    @torch.no_grad()
    def fit(self, x: Tensor | Iterable[Tensor]) -> None:
        """Take mean and standard deviation from data, in float64.

        An entry is constant if all its values are equal, or if they differ by rounding alone in
        the type that they came in.

        Args:
            x: real data, (batch, *event_shape), or an iterable of such pieces; two rows or more.

        Raises:
            DataError: too few rows, complex values or such as are not finite, an entry that is
                constant, or one whose spread is beyond float64.
        """
        rows, wide, eps = 0, False, 0.0
        origin: Tensor | None = None
        for piece in [x] if isinstance(x, Tensor) else x:
            check_batch(piece, self.event_shape, "x")
            if piece.is_complex():
                raise DataError("Standardize cannot fit complex data; give its real parts.")
            if len(piece) == 0:
                continue
            if piece.is_floating_point():
                wide = wide or piece.dtype == torch.float64
                eps = torch.finfo(torch.promote_types(piece.dtype, torch.float32)).eps
            values = piece.to(_exact_type(piece))
            if origin is None:
                origin, mean, squares = values[0], values[0] * 0, values[0] * 0
                differs = mean != 0
            values = values - origin  # exact for a constant entry, which is how it is known
            differs |= (values != 0).any(0)
            own_mean = values.mean(0)
            own_squares = (values - own_mean).square().sum(0)
            # Chan et al. 1979: statistics of the union of two samples
            difference, rows = own_mean - mean, rows + len(piece)
            mean = mean + difference * len(piece) / rows
            squares = squares + own_squares
            squares = squares + difference.square() * len(piece) * (rows - len(piece)) / rows
        if origin is None or rows < 2:
            raise DataError(f"Standardize needs at least 2 rows to fit; came {rows}.")
        std, mean = (squares / (rows - 1)).sqrt(), mean + origin
        mean[self.untouched], std[self.untouched] = 0.0, 1.0
        if not mean.isfinite().all():
            raise DataError("Standardize cannot fit data that holds NaN or infinite values.")
        differs &= ~(std <= mean.abs() * eps) | (squares == 0)  # NaN or 0: beyond float64
        beyond = differs & ~(std.isfinite() & (std > 0))
        if beyond.any():
            raise DataError(
                f"Standardize cannot square deviations as large or small as those of "
                f"{self._listed(beyond)} in {std.dtype}; choose other units."
            )
        std = torch.where(differs, std, 0).clamp(self.minimum_scale)
        std[self.untouched] = 1.0
        if not std.all():
            raise DataError(
                f"Standardize cannot divide by a standard deviation of 0: constant "
                f"{self._listed(std == 0)}; drop them or set minimum_scale."
            )
        self.mean.copy_(mean)
        self.std.copy_(std)
        self.fitted.fill_(True)
        self.wide.fill_(wide)
        self._gives_float64 = wide

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_batch(x, self.event_shape, "x")
        dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
        z = (x.to(self.mean.dtype) - self.mean) / self.std
        return z.to(dtype), self._contribution(len(x), dtype)

    def decode(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_batch(z, self.event_shape, "z")
        x = z.to(self.mean.dtype) * self.std + self.mean
        return (x if self._gives_float64 else x.to(z.dtype)), self._contribution(len(z), z.dtype)

    def _contribution(self, n: int, dtype: torch.dtype) -> Tensor:
        return -self.std.log().sum().to(dtype).expand(n)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the statistics without a loss of digits: `.to`, `.half()` and the like end here."""
        super()._apply(lambda tensor: _moved(tensor, fn), recurse)  # type: ignore[no-untyped-call] # of torch
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        state_dict.setdefault(f"{prefix}wide", torch.tensor(False))  # as checkpoints once were
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self._gives_float64 = bool(self.wide)

    def _listed(self, which: Tensor) -> str:
        """Columns of a vector, or entries of an array, that are marked."""
        places = which.nonzero().tolist()
        columns = which.ndim == 1
        shown = ", ".join(str(place[0] if columns else tuple(place)) for place in places[:8])
        more = f" and {len(places) - 8} more" if len(places) > 8 else ""
        return f"{'columns' if columns else 'entries'} {shown}{more}"


def _exact_type(x: Tensor) -> torch.dtype:
    return torch.float32 if x.device.type == "mps" else torch.float64


def _moved(tensor: Tensor, fn: Callable[[Tensor], Tensor]) -> Tensor:
    """What fn makes of a tensor, which stays float64 wherever there is float64."""
    if not tensor.is_floating_point():
        return fn(tensor)
    try:
        moved = fn(tensor)
    except TypeError:  # MPS refuses float64
        return fn(tensor.float())
    if moved.device.type == "mps":
        return moved.float()
    if moved.dtype == torch.float64:
        return moved
    return tensor.to(moved.device).double()

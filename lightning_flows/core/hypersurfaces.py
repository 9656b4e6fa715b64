"""Hypersurfaces that every ray from the origin, or every vertical line, meets in one point."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lightning_flows.core.shapes import Shape
from lightning_flows.core.support import Support, check_vector, rounding, wide

__all__ = ["Hypersurface", "LpSphere", "log_norm"]

FLOOR = 1e-18  # its square is a number in single precision too


@dataclass(frozen=True)
class LpSphere(Support):
    """Vectors x of n + 1 entries with ‖x‖_p = k.

    Args:
        n: dimension of the hypersurface.
        p: exponent, positive; below 1 as well.
        level: k; None where its logarithm is the first entry of the context.
        positive: only the part whose entries are from 0 up; for p = 1 the simplex.
        levels: k of each row, as `given` sets it. It makes no other set.
    """

    n: int
    p: float
    level: float | None = 1.0
    positive: bool = False
    levels: Tensor | None = field(default=None, compare=False, repr=False)

    measure = "Riemannian volume"
    charts = "StarLike"

    def contains(self, x: Tensor) -> Tensor:
        x = wide(x)
        norms = log_norm(x, self.p)
        inside = x.isfinite().all(1) & (x != 0).any(1)
        known = self._levels(x)
        if known is not None:
            inside = inside & ((norms - known.log()).abs() <= rounding(x) * (1 + known.log().abs()))
        return inside & (x >= 0).all(1) if self.positive else inside

    def point(self, like: Tensor) -> Tensor:
        even = torch.full_like(like, like.shape[1] ** (-1 / self.p))
        known = self._levels(like)
        return even if known is None else even * known[:, None]

    def given(self, context: Tensor | None) -> LpSphere:
        if self.level is not None or context is None:
            return self
        return replace(self, levels=context.flatten(1)[:, 0].exp())

    def check(self, shape: Shape) -> None:
        check_vector(self, self.n + 1, shape)

    def _levels(self, x: Tensor) -> Tensor | None:
        """K of each row, or None where there is no context to take it from."""
        if self.level is not None:
            return x.new_full((len(x),), self.level)
        return None if self.levels is None else self.levels.to(x)

    def __str__(self) -> str:
        part = "the positive part of " if self.positive else ""
        level = "a level that is given" if self.level is None else f"level {self.level:g}"
        return f"{part}the L_{self.p:g} sphere of dimension {self.n} and {level}"


@dataclass(frozen=True)
class Hypersurface(Support):
    """A hypersurface of which is not known where it lies: finite vectors of n + 1 entries.

    A point beside it is scored as the one that its chart sends it to.

    Args:
        n: dimension of the hypersurface.
    """

    n: int

    measure = "Riemannian volume"
    charts = "StarLike or Graph"

    def contains(self, x: Tensor) -> Tensor:
        return wide(x).isfinite().all(1)

    def point(self, like: Tensor) -> Tensor:
        return torch.ones_like(like)

    def check(self, shape: Shape) -> None:
        check_vector(self, self.n + 1, shape)

    def __str__(self) -> str:
        return f"a hypersurface of dimension {self.n}"


def log_norm(x: Tensor, p: float) -> Tensor:
    """Log ‖x‖_p of vectors: (batch, features) -> (batch,).

    Entries are 1e-18 further from 0 than they are, and 0 counts as positive: at p = 1 the slope is
    that of a face, below it is large but finite.
    """
    logs = (torch.where(x < 0, -x, x) + FLOOR).log()
    return (p * logs).logsumexp(1) / p

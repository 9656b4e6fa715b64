"""What components were found at the points of a batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Components"]


@dataclass(frozen=True)
class Components:
    """Local principal components at the points of a batch, widest first.

    All numbers are of model space, that of preprocessed data, but for `points`, `displacements`
    and what is derived from these: `data_axes` and `data_scales`. Without preprocessing the two
    spaces are one. All entries are NaN at a point where the Jacobian is not finite.

    Args:
        points: data x, (batch, *event).
        preprocessed: the same in model space, y, (batch, *event).
        latents: their latents, (batch, *latent).
        axes: unit vectors u in model space, at right angles to each other, (batch, k, *event); the
            entry of largest magnitude in each is positive.
        scales: standard deviations along the axes, (batch, k), descending.
        variances: scales² less the shrinkage, (batch, k): what is left when the widening by a
            Tikhonov term or by noise is undone; negative where the flow is narrower than that.
        coordinates: the point in its own principal axes, (batch, k): S Vᵀ z, the displacement from
            the (locally linear) image of the latent origin.
        dimension: number of directions that belong to the data, (batch,), floating point. By the
            iterative method only k directions are looked at: where it equals k it is a lower
            bound, below k it is the number.
        directions: unit vectors v in latent space, (batch, k, *latent), with J v = scale · u; zero
            where a scale is.
        displacements: B J v = scale · B u, (batch, k, *event): where one standard deviation along
            an axis leads, in the units of the data. Neither at right angles to each other nor
            descending in length where entries have units of their own.
        total: sum of the variances of all directions, none counted below zero, (batch,). By the
            iterative method the variances of directions that are not looked at are guessed from
            random ones, Σ s² without bias, and less the shrinkage of each.
        total_error: standard error of the total, (batch,); zero by the full method. It comes from
            k + 2 directions, and is itself uncertain by 1/√(2k + 2) of its value.
        error: bound on the relative error of each scale, (batch, k); zero by the full method, as
            there is only rounding, and for scales that are zero but for rounding.
        angle: bound on the largest principal angle between the space of these axes and that of
            the k widest, (batch,), radians. Where the scales at k and k + 1 hardly differ that
            space is not well defined, and the bound stays large. Single axes within the space
            are as loose as the scales beside them are near: see `align`. Axes whose scale is zero
            are left out.
        converged: whether errors and angle are below the tolerance, (batch,), bool.
        iterations: products of a block of directions with J and Jᵀ, (batch,), floating point; zero
            by the full method.
    """

    points: Tensor
    preprocessed: Tensor
    latents: Tensor
    axes: Tensor
    scales: Tensor
    variances: Tensor
    coordinates: Tensor
    dimension: Tensor
    directions: Tensor
    displacements: Tensor
    total: Tensor
    total_error: Tensor
    error: Tensor
    angle: Tensor
    converged: Tensor
    iterations: Tensor

    @property
    def explained(self) -> Tensor:
        """Fraction of the total variance along each axis, (batch, k)."""
        return self.variances.clamp_min(0) / self.total[:, None]

    @property
    def data_scales(self) -> Tensor:
        """Standard deviations along the axes in the units of the data, (batch, k)."""
        lengths: Tensor = self.displacements.flatten(2).norm(dim=2)
        return lengths

    @property
    def data_axes(self) -> Tensor:
        """The axes as unit vectors in data space, (batch, k, *event)."""
        flat = torch.nn.functional.normalize(self.displacements.flatten(2), dim=2)
        return flat.view_as(self.displacements)

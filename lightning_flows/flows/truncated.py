"""Injective flows cut down to their first latents, without training."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from lightning_flows.bases.normal import Normal, is_standard_normal
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.core.shapes import as_shape, check_batch, size
from lightning_flows.flows.base import Flow
from lightning_flows.flows.injective import InjectiveFlow, PaddedFlow
from lightning_flows.jacobians.products import Map

__all__ = ["TruncatedFlow", "truncate"]


class TruncatedFlow(InjectiveFlow):
    """An injective flow of which some directions of the latent space are kept.

    With orthonormal directions R, (latents, d), coordinates on the manifold are u = Rᵀ z, and
    points on it decode(R u): the other latents are held at 0, the mean of their standard normal
    prior. Along orthonormal directions the marginal of a standard normal is standard normal, so
    that the prior of u needs no training. Where the flow is conditioned on context, the manifold
    depends on it as well, and `project` and `embed` take it.

    How well few directions do depends on which they are: see `truncate`, which sets them.

    Args:
        event_shape: shape of one data point.
        flow: an injective flow, whose parameters are shared, or a factory of one; `PaddedFlow`
            by default.
        latent_features: number d of directions that are kept; half of the latents by default.
            They are the first latents, unless `truncate` or a state dict sets others.
        context_shape: shape of what the flow is conditioned on, where a factory makes it.

    Raises:
        ConfigError: d is not between 1 and the number of latents, or these are not standard
            normal.
        ShapeError: the flow has events of another shape.
    """

    full = True

    directions: Tensor

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        *,
        flow: InjectiveFlow | Callable[..., InjectiveFlow] | None = None,
        latent_features: int | None = None,
        context_shape: Sequence[int] | int | None = None,
    ) -> None:
        shape = as_shape(event_shape)
        if not isinstance(flow, InjectiveFlow):
            make: Callable[..., InjectiveFlow] = PaddedFlow if flow is None else flow
            given = {} if context_shape is None else {"context_shape": as_shape(context_shape)}
            flow = make(shape, **given)
        if flow.event_shape != shape:
            raise ShapeError(f"flow has event_shape {flow.event_shape}; event_shape is {shape}.")
        base, latents = _standard_base(flow), size(flow.latent_shape)
        d = max(latents // 2, 1) if latent_features is None else latent_features
        if not 1 <= d <= latents:
            raise ConfigError(
                f"latent_features is {d}; {type(flow).__name__} has {latents} latents, so accepted "
                f"are 1 to {latents}."
            )
        super().__init__(shape, latent_features=d, prior=Normal)
        self.prior.to(base.loc)
        self.context_shape, self.support = flow.context_shape, flow.support
        self.left_inverse = flow.left_inverse
        self.moves_with_context = flow.context_shape is not None
        self.flow = flow
        self.register_buffer("directions", torch.eye(latents).to(base.loc)[:, :d].clone())

    def chart(self, context: Tensor | None = None) -> tuple[Map, Map]:
        return partial(self.project, context=context), partial(self.embed, context=context)

    def project(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Coordinates on the manifold: (batch, *event_shape) -> (batch, d)."""
        return self.flow.encode(x, context).flatten(1) @ self.directions

    def embed(self, u: Tensor, context: Tensor | None = None) -> Tensor:
        """Points of the manifold: (batch, d) -> (batch, *event_shape)."""
        check_batch(u, self.manifold_shape, "u")
        z = u @ self.directions.mT
        return self.flow.decode(z.unflatten(1, self.flow.latent_shape), context)


def truncate(flow: InjectiveFlow, d: int, directions: Tensor | None = None) -> TruncatedFlow:
    """A smaller injective flow that keeps d directions of the latents, without training.

    Maximum likelihood is free to rotate standard normal latents, so that single ones need not
    explain much. `metrics.latent_order` finds directions by what they explain, over data:

        order = latent_order(flow.decode, flow.encode(x))
        small = truncate(flow, 3, order.directions)

    It is assumed that a *linear* subspace of the latents explains the data. That holds for linear
    flows, and for those that are trained with a penalty that turns latents to axes of their own
    (`ContourInformation`, `OffDiagonal`) as far as data has such axes; in general it takes more
    latents than the manifold has dimensions, three for a sphere. `metrics.truncation_curve` says
    what each number costs.

    Args:
        flow: what is cut down; the result shares its parameters. Take `copy.deepcopy` of it where
            only one of them is to be trained further.
        d: number of directions to keep.
        directions: orthonormal columns, (latents, at least d), of which the first d are kept; the
            latents in their own order by default.

    Raises:
        ConfigError: d is out of range, latents are not standard normal, or directions not
            orthonormal.
        ShapeError: directions are not of the shape above.
    """
    small = TruncatedFlow(flow.event_shape, flow=flow, latent_features=d)
    if directions is not None:
        latents = len(small.directions)
        if directions.ndim != 2 or len(directions) != latents or directions.shape[1] < d:
            raise ShapeError(
                f"directions have shape {tuple(directions.shape)}; expected is "
                f"({latents}, {d} or more)."
            )
        kept = directions[:, :d].to(small.directions)
        off = (kept.mT @ kept - torch.eye(d).to(kept)).abs().max().item()
        if not off < 100 * latents * torch.finfo(kept.dtype).eps:
            raise ConfigError(
                f"directions are not orthonormal (they are off by {off:.2g}); accepted are "
                "orthonormal columns, such as those of metrics.latent_order."
            )
        small.directions.copy_(kept)
    return small


def _standard_base(flow: InjectiveFlow) -> Normal:
    """The standard normal density of the latents."""
    base = flow.prior.base if isinstance(flow.prior, Flow) else flow.prior
    if flow.kind != "bijection" or not is_standard_normal(base):
        raise ConfigError(
            f"The latents of {type(flow).__name__} follow the base {type(base).__name__} of a "
            f"prior of kind {flow.kind}; accepted are priors whose latents are standard normal, "
            "since their marginals are known: train it with a prior such as Normal or RealNVP."
        )
    return base

"""A flow: a base density seen through a transform."""

from typing import Any

from torch import Tensor

from lightning_flows.bases.base import Density, check_context
from lightning_flows.bases.normal import Normal
from lightning_flows.core.errors import ShapeError
from lightning_flows.core.kinds import Kind
from lightning_flows.core.noise import Reproducible
from lightning_flows.core.outside import log_prob_inside
from lightning_flows.core.shapes import check_batch
from lightning_flows.core.support import remedy
from lightning_flows.transforms.base import Transform

__all__ = ["Flow"]


class Flow(Density):
    """Density of x where z = transform.encode(x) follows a base density.

    log p(x) = log p_base(z) + contribution(x, z) in nats, exact or a lower bound as `exact` says.
    A bound has one draw for each row; in evaluation mode it is a hash of the row and of how often
    that stands in the tensor before, so that equal rows average over draws (`core.noise`).
    A flow is a density itself, so it may be the base of another one.

    Args:
        transform: map from data to latent.
        base: density of the latent; standard normal by default.

    Raises:
        ShapeError: base and transform differ in shape or support.
    """

    def __init__(self, transform: Transform, base: Density | None = None) -> None:
        base = Normal(transform.latent_shape) if base is None else base
        if base.event_shape != transform.latent_shape:
            raise ShapeError(
                f"base has event_shape {base.event_shape}; "
                f"the transform gives latents of shape {transform.latent_shape}."
            )
        codomain = transform.codomain
        if codomain is not None and base.support != codomain:
            raise ShapeError(
                f"base lives on {base.support}; the transform gives values in {codomain}: "
                f"{remedy(codomain, base.support)}."
            )
        if codomain is None and not base.support.entrywise:
            raise ShapeError(
                f"base lives on {base.support}; {type(transform).__name__} would mix its entries."
            )
        contexts = {s for s in (transform.context_shape, base.context_shape) if s is not None}
        if len(contexts) > 1:
            raise ShapeError(f"transform and base differ in context_shape: {sorted(contexts)}.")
        super().__init__(
            transform.event_shape,
            contexts.pop() if contexts else None,
            base.support if transform.domain is None else transform.domain,
        )
        self.latent_shape = transform.latent_shape
        self.transform = transform
        self.base = base

    @property
    def exact(self) -> bool:
        """Whether `log_prob` is the log-density itself and not a lower bound."""
        return self.transform.exact and self.base.exact

    @property
    def kind(self) -> Kind:
        return self.transform.kind

    @property
    def reparametrized(self) -> bool:
        """Whether draws carry gradients: of bijections, where the base does; others may choose."""
        return self.kind == "bijection" and self.base.reparametrized

    @property
    def fixed_profile(self) -> bool:
        moves = self.transform.volume_preserving and self.base.fixed_profile
        return moves or super().fixed_profile

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Latents of data: (batch, *event_shape) -> (batch, *latent_shape).

        Where the transform draws, each point gets one draw, in evaluation mode always the same.
        """
        self.check(x, context)
        with self._noise_of(x):
            z: Tensor = self.transform(x, context)[0]
        return z

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Data of latents: (batch, *latent_shape) -> (batch, *event_shape)."""
        check_batch(z, self.latent_shape, "z")
        check_context(self.context_shape, context, rows=len(z))
        return self.transform.decode(z, context)[0]

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density at x, or a lower bound of it as `exact` says; -inf outside of `support`.

        Args:
            x: points, (batch, *event_shape).
            context: (batch, *context_shape), or None for an unconditional density.

        Returns:
            (batch,), nats.
        """
        self.check(x, context)

        def inside(x: Tensor) -> Tensor:
            with self._noise_of(x):
                z, contribution = self.transform(x, context)
                scores: Tensor = self.base.log_prob(z, self._base_context(context)) + contribution
            return scores

        return log_prob_inside(self.support.given(context), x, inside)

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        z = self.base.draw(n, self._base_context(context), temperature)
        return self.transform.decode(z, context)[0]

    def draw_and_score(self, n: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if not self.exact:
            return super().draw_and_score(n, context)
        z, log_prob = self.base.draw_and_score(n, self._base_context(context))
        x, contribution = self.transform.decode(z, context)
        return x, log_prob + contribution

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile transform and base with `torch.compile`, so that `log_prob` is faster.

        Args:
            args: those of `torch.compile`.
            options: those of `torch.compile`.
        """
        self.transform.compile(*args, **options)
        self.base.compile(*args, **options)

    def _noise_of(self, x: Tensor) -> Reproducible:
        """One key for all layers: data is the same to the last bit wherever it is scored."""
        return Reproducible(x, not (self.training or self.exact))

    def _base_context(self, context: Tensor | None) -> Tensor | None:
        return None if self.base.context_shape is None else context

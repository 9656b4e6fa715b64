"""What a target is: a density up to its mass."""

import torch
from torch import Tensor

from lightning_flows.bases.base import Density

__all__ = ["Target"]


class Target(Density):
    """A density p known up to its mass Z: `log_prob` is log p̃ = log p + log Z.

    Subclasses implement `log_prob`; those whose normalized density can be drawn from and whose mass
    is known implement `draw` and `log_evidence` as well. A `Density`, whose mass is 1, is a target
    as it is.

    Args:
        event_shape: shape of one point.
        context_shape: shape of what the target is conditioned on, or None.
        support: set that events lie in.
    """

    def log_evidence(self, context: Tensor | None = None) -> Tensor:
        """Log of the mass, log Z, in nats.

        Args:
            context: (batch, *context_shape), or None for a target without context.

        Returns:
            (batch,) with context, a scalar without.
        """
        raise NotImplementedError

    def _as_buffer(self, name: str, values: Tensor) -> None:
        """Keep constants on the device of the module; the recipe holds what they are made of."""
        self.register_buffer(name, values.to(torch.get_default_dtype()), persistent=False)

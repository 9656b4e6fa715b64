"""What modules share whose objective no parameters take below the entropy of the data."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.nn import Parameter

from lightning_flows.core.errors import ConfigError
from lightning_flows.core.shapes import Shape
from lightning_flows.core.signatures import Options
from lightning_flows.flows.injective import InjectiveFlow
from lightning_flows.modules.arguments import part_of
from lightning_flows.modules.base import ModuleOptions
from lightning_flows.modules.manifold import ManifoldModule
from lightning_flows.objectives import Embedded, LearnedScale, Scale

__all__ = ["BoundedModule", "BoundedOptions"]


class BoundedOptions(ModuleOptions, total=False):
    """What every bounded module takes beside its flow and shapes; see `BoundedModule`."""

    scale: Scale | float | None


class BoundedModule(ManifoldModule):
    """A manifold and the density on it, trained by a density q that has mass 1 in data space.

    The loss is at least -log q of preprocessed data, so its expectation on data that was not
    trained on is at least their differential entropy (Gibbs' inequality), whatever the networks do.

    Subclasses implement `training_loss` and `negative_log`.

    Args:
        flow: makes the injective flow from the event shape.
        event_shape: shape of one data point.
        context_shape: shape of what the density on the manifold is conditioned on.
        scale: a standard deviation, a number or a part: `LearnedScale` (the default, with a floor
            of 0.01) or `AnnealedScale`.
        options: those of `FlowModule`.

    Raises:
        ConfigError: an option is out of range, or `scale` has another number of coordinates than
            the module can use.
    """

    def __init__(
        self,
        flow: Callable[[Shape], InjectiveFlow],
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        scale: Scale | float | None = None,
        **options: Options[ModuleOptions],
    ) -> None:
        super().__init__(flow, event_shape, context_shape, **options)
        scale = LearnedScale() if scale is None else scale
        scale = Scale(scale) if isinstance(scale, int | float) else scale
        self.scale = copy.deepcopy(part_of(scale, Scale, "scale", "LearnedScale()"))
        coordinates, accepted = self.scale().numel(), self.coordinates
        if coordinates not in accepted:
            numbers = " and ".join(str(n) for n in sorted(accepted))
            raise ConfigError(
                f"scale has {coordinates} coordinates; {type(self).__name__} takes {numbers} here."
            )

    @property
    def coordinates(self) -> set[int]:
        """How many coordinates the scale may have."""
        return {1}

    def negative_log(self, y: Tensor, context: Tensor | None) -> Tensor:
        """-log q of preprocessed data, or an upper bound of it, as validation scores it.

        Args:
            y: preprocessed data, (batch, *event_shape).
            context: preprocessed, (batch, *context_shape), or None.

        Returns:
            (batch,), nats.
        """
        raise NotImplementedError

    def objective(
        self,
        y: Tensor,
        embedded: Embedded,
        log_prior: Tensor,
        reconstruction: Tensor,
        context: Tensor | None,
    ) -> Tensor:
        return self.penalized(self.negative_log(y, context), y, embedded)

    def ambient_log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log q(x) in data space, or a lower bound of it.

        Args:
            x: data in original units, (batch, *event_shape).
            context: (batch, *context_shape), or None.

        Returns:
            (batch,), nats.
        """
        with self.noise_of_scores(x):
            y, contribution = self.to_model_space(x)
            return contribution - self.negative_log(y, self.to_model_context(context))

    def trained_parameters(self) -> list[Parameter]:
        return [*super().trained_parameters(), *self.scale.parameters()]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        # not at the start of an epoch: that hook is left out in the first one after some resumes
        self.scale.follow(self.current_epoch)

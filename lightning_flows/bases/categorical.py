"""Probabilities of whole numbers from zero up: categories, signs, places."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.bases.conditional import Parametrized
from lightning_flows.core.errors import check_least
from lightning_flows.core.noise import uniform_noise
from lightning_flows.core.support import Levels

__all__ = ["Bernoulli", "Categorical", "draw_categories"]


class Categorical(Parametrized):
    """Each entry is one of the numbers 0 to classes - 1, independently given the context.

    Args:
        event_shape: shape of one point.
        context_shape: shape of what the logits depend on, or None for learned constants.
        classes: how many numbers an entry may be.
        hidden: width of each hidden layer of the network from context to logits.
        activation: relu, silu, tanh, gelu, elu or softplus.

    Raises:
        ConfigError: fewer than two classes.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        classes: int = 2,
        hidden: Sequence[int] = (64, 64),
        activation: str = "relu",
    ) -> None:
        check_least(2, classes=classes)
        self.parameters_each = classes
        self.support = Levels(0, classes)
        super().__init__(event_shape, context_shape, hidden=hidden, activation=activation)

    @property
    def reparametrized(self) -> bool:
        return False

    def log_prob_each(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        log_p = torch.stack(self.parameters_at(len(x), context), -1).log_softmax(-1)
        return log_p.gather(-1, x.detach().long()[..., None])[..., 0]

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw numbers; `temperature` flattens (above 1) or sharpens the probabilities."""
        logits = torch.stack(self.parameters_at(n, context), -1)
        return draw_categories(logits / max(temperature, 1e-6))


class Bernoulli(Categorical):
    """Each entry is 0 or 1, independently given the context.

    Args:
        event_shape: shape of one point.
        context_shape: shape of what the logits depend on, or None for learned constants.
        hidden: width of each hidden layer of the network from context to logits.
        activation: relu, silu, tanh, gelu, elu or softplus.
    """

    def __init__(
        self,
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str = "relu",
    ) -> None:
        super().__init__(
            event_shape, context_shape, classes=2, hidden=hidden, activation=activation
        )


def draw_categories(logits: Tensor) -> Tensor:
    """Numbers 0 to K - 1 with softmax probabilities: (batch, *event, K) -> (batch, *event)."""
    below = logits.detach().softmax(-1).cumsum(-1)[..., :-1]  # the last class takes the rest
    return (uniform_noise(logits.shape[:-1], logits)[..., None] >= below).sum(-1).to(logits)

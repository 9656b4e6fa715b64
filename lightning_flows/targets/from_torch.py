"""Distributions of torch as targets."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, distributions
from torch.distributions import Distribution

from lightning_flows.core.errors import ConfigError
from lightning_flows.core.shapes import sum_event
from lightning_flows.targets.base import Target

__all__ = ["TorchDistribution"]


class TorchDistribution(Target):
    """A distribution of `torch.distributions`, all of whose dimensions are one event, mass 1.

        TorchDistribution("StudentT", {"df": [3.0, 3.0]})

    It is named, and its parameters are numbers, so that a checkpoint can hold it.

    Args:
        name: of a class in `torch.distributions`.
        parameters: of that class by their names, numbers or lists of them.

    Raises:
        ConfigError: there is no such distribution, or it does not take such parameters; or one
            draw of it is a single number, and no vector.
    """

    def __init__(self, name: str, parameters: Mapping[str, Any]) -> None:
        found = getattr(distributions, name, None)
        if not (isinstance(found, type) and issubclass(found, Distribution)):
            raise ConfigError(f"name is {name!r}; accepted are classes of torch.distributions.")
        kind: Callable[..., Distribution] = found
        try:
            made = kind(**{key: torch.as_tensor(value) for key, value in parameters.items()})
        except (TypeError, ValueError, RuntimeError) as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            raise ConfigError(f"parameters do not make a {name}: {reason}.") from error
        shape = (*made.batch_shape, *made.event_shape)
        if not shape:
            raise ConfigError(
                f"parameters make a {name} of single numbers; give lists, such as [0.0] of one."
            )
        super().__init__(shape)
        self.kind_of_distribution = kind
        self.names = tuple(parameters)
        for key, value in parameters.items():
            self._as_buffer(f"parameter_{key}", torch.as_tensor(value))

    def distribution_of_torch(self) -> Distribution:
        """The distribution, with parameters on the device of the module."""
        parameters = {key: getattr(self, f"parameter_{key}") for key in self.names}
        return self.kind_of_distribution(**parameters, validate_args=False)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        made = self.distribution_of_torch()
        inside: Tensor = made.support.check(x)  # type: ignore[union-attr]
        scores = sum_event(made.log_prob(x))
        return torch.where(inside.reshape(len(x), -1).all(1), scores, -torch.inf)

    def log_evidence(self, context: Tensor | None = None) -> Tensor:
        return next(self.buffers()).new_zeros(())

    def draw(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw points from the global random state; `temperature` other than 1 is refused."""
        if temperature != 1:
            raise ConfigError(f"temperature is {temperature}; a TorchDistribution takes 1 alone.")
        return self.distribution_of_torch().sample((n,))

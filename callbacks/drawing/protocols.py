"""What a callback asks of a LightningModule, ours or foreign: only what it needs."""

from typing import Any, Protocol

from lightning.pytorch import LightningModule
from torch import Tensor

from lightning_flows.components import ModelMaps
from lightning_flows.core.errors import ConfigError

__all__ = [
    "CanDecode",
    "CanEncode",
    "CanPreprocess",
    "CanSample",
    "CanScore",
    "HasObjective",
    "require",
]


class CanSample(Protocol):
    """Draws points; called with `temperature` only where it is not 1."""

    def sample(self, n: int, /) -> Tensor:
        """N points, (n, *event). Conditional: (n, context), giving (batch, n, *event)."""


class CanEncode(Protocol):
    """Maps data to latents."""

    def encode(self, x: Tensor, /) -> Tensor:
        """(batch, *event) -> (batch, *latent). Conditional: (x, context)."""


class CanDecode(Protocol):
    """Maps latents to data."""

    def decode(self, z: Tensor, /) -> Tensor:
        """(batch, *latent) -> (batch, *event). Conditional: (z, context)."""


class CanPreprocess(Protocol):
    """Has a preprocessing apart from its flow; asked only if the method is there."""

    def model_maps(self) -> ModelMaps:
        """Maps between data, preprocessed data and latents. Conditional: (context)."""


class CanScore(Protocol):
    """Knows its density."""

    def log_prob(self, x: Tensor, /) -> Tensor:
        """(batch, *event) -> (batch,), nats. Conditional: (x, context)."""


class HasObjective(Protocol):
    """Has a loss of each sample that is, or is meant to be, a negative log-density."""

    def objective_nll(self, x: Tensor, /) -> Tensor:
        """(batch, *event) -> (batch,), nats in units of the data. Conditional: (x, context)."""


SIGNATURES = {
    "sample": "sample(n)",
    "encode": "encode(x)",
    "decode": "decode(z)",
    "log_prob": "log_prob(x)",
    "objective_nll": "objective_nll(x)",
}


def require(callback: object, module: LightningModule, methods: tuple[str, ...]) -> None:
    """Refuse a module that lacks a method.

    Raises:
        ConfigError: names the callback, the class of the module and the methods.
    """
    missing = [name for name in methods if not callable(getattr(module, name, None))]
    if missing:
        raise ConfigError(
            f"{type(callback).__name__} calls {' and '.join(SIGNATURES[m] for m in missing)}, "
            f"which {type(module).__name__} does not have: add it, or leave the callback out."
        )


def batch_keys(module: Any) -> tuple[str, str]:
    """Names of data and context in batches that are mappings: `data_key` and `context_key`."""
    return getattr(module, "data_key", "x"), getattr(module, "context_key", "context")


def context_shape(module: Any) -> Any:
    """Shape of what the module is conditioned on; None where it is unconditional."""
    return getattr(module, "context_shape", None)

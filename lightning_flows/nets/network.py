"""What is compiled as one piece."""

from typing import Any

from torch import nn

__all__ = ["Network", "compile_networks"]


class Network(nn.Module):
    """A network that is called as a whole; flows that are compiled by parts compile these."""


def compile_networks(part: nn.Module, *args: Any, **options: Any) -> None:
    """Compile the networks inside; derivatives are taken through what surrounds them.

    Args:
        part: what holds them.
        args: those of `torch.compile`.
        options: those of `torch.compile`.
    """
    for module in part.modules():
        if isinstance(module, Network):
            module.compile(*args, **options)

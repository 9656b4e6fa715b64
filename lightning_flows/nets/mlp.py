"""Fully connected conditioners."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from lightning_flows.core.errors import ConfigError, ShapeError, check_least
from lightning_flows.core.shapes import Shape
from lightning_flows.nets.network import Network

__all__ = ["MLP", "Net", "ResidualMLP", "activation_named", "check_net", "make_net", "zero"]

Net = Callable[[int, int], nn.Module]
"""Makes a network from its numbers of inputs and outputs, such as `partial(MLP, hidden=(64,))`."""

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
}


def activation_named(name: str) -> nn.Module:
    """Make the activation with this name.

    Raises:
        ConfigError: the name is none of relu, silu, tanh, gelu, elu, softplus.
    """
    if name not in _ACTIVATIONS:
        raise ConfigError(f"activation is {name!r}; accepted are {', '.join(_ACTIVATIONS)}.")
    return _ACTIVATIONS[name]()


class MLP(Network):
    """Linear layers with an activation between them; (batch, in) -> (batch, out).

    Args:
        in_features: number of inputs; 0 makes the output a learned constant.
        out_features: number of outputs.
        hidden: width of each hidden layer.
        activation: relu, silu, tanh, gelu, elu or softplus.
        zero_last: start with an output of zero, so that a transform starts as the identity.

    Raises:
        ConfigError: a width that is not positive.
    """

    constant: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        zero_last: bool = False,
    ) -> None:
        super().__init__()
        check_least(1, hidden=hidden)
        self.out_features = out_features
        if in_features == 0:
            self.constant = nn.Parameter(torch.zeros(out_features))
            self.layers = nn.Sequential()
            return
        widths = [in_features, *hidden]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            layers += [nn.Linear(n_in, n_out), activation_named(activation)]
        last = nn.Linear(widths[-1], out_features)
        if zero_last:
            zero(last)
        self.layers = nn.Sequential(*layers, last)
        self.constant = None

    def forward(self, x: Tensor) -> Tensor:
        if self.constant is not None:
            return self.constant.expand(len(x), -1)
        out: Tensor = self.layers(x)
        return out


class ResidualMLP(Network):
    """Residual blocks of two linear layers each; (batch, in) -> (batch, out).

    Args:
        in_features: number of inputs, at least 1.
        out_features: number of outputs.
        hidden: width of each block; all widths are equal.
        activation: relu, silu, tanh, gelu, elu or softplus.
        zero_last: start with an output of zero, so that a transform starts as the identity.

    Raises:
        ConfigError: blocks of different width, none, or a width that is not positive.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        zero_last: bool = False,
    ) -> None:
        super().__init__()
        check_least(1, hidden=hidden)
        if len(set(hidden)) != 1:
            raise ConfigError(f"hidden is {list(hidden)}; residual blocks need one common width.")
        width = hidden[0]
        self.first = nn.Linear(in_features, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                activation_named(activation),
                nn.Linear(width, width),
                activation_named(activation),
                nn.Linear(width, width),
            )
            for _ in hidden
        )
        self.last = nn.Linear(width, out_features)
        if zero_last:
            zero(self.last)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for block in self.blocks:
            h = h + block(h)
        out: Tensor = self.last(h)
        return out


def make_net(
    hidden: Sequence[int], activation: str, *, residual: bool = False, zero_last: bool = False
) -> Net:
    """The conditioner that coupling layers and flows describe by four plain options."""
    kind = ResidualMLP if residual else MLP

    def net(in_features: int, out_features: int) -> nn.Module:
        make = MLP if in_features == 0 else kind  # a constant has no blocks
        return make(
            in_features, out_features, hidden=hidden, activation=activation, zero_last=zero_last
        )

    return net


@torch.no_grad()
def check_net(net: nn.Module, given: Shape, wanted: Shape) -> None:
    """Refuse a network that does not lead from one shape to the other.

    Args:
        net: the network.
        given: shape of one input.
        wanted: shape of one output.

    Raises:
        ShapeError: names the network, and what it does.
    """
    name = type(net).__name__
    like = next(net.parameters(), torch.empty(0))
    try:
        made = tuple(net(torch.zeros(2, *given, dtype=like.dtype, device=like.device)).shape[1:])
    except (RuntimeError, ValueError, IndexError) as error:
        reason = str(error).partition("\n")[0]
        raise ShapeError(f"net {name} refuses inputs of shape {given}: {reason}") from error
    if made != wanted:
        raise ShapeError(
            f"net {name} gives {made} for inputs of shape {given}; wanted is {wanted}."
        )


def zero(layer: nn.Linear | nn.Conv2d) -> None:
    """Make a layer with a bias start with an output of zero."""
    assert layer.bias is not None
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)

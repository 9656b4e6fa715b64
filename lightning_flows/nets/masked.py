"""Masked networks: output j depends on inputs before j only (MADE, Germain et al. 2015)."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_flows.core.errors import check_least
from lightning_flows.nets.mlp import activation_named
from lightning_flows.nets.network import Network

__all__ = ["MaskedLinear", "MaskedMLP"]


class MaskedLinear(nn.Linear):
    """A linear layer whose weight is multiplied with a fixed mask.

    Args:
        mask: (out_features, in_features), zero where output must not depend on input.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.to(self.weight.dtype))

    @property
    def masked_weight(self) -> Tensor:
        """The weight that counts, (out_features, in_features)."""
        return self.weight * self.mask

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.masked_weight, self.bias)


class MaskedMLP(Network):
    """An MLP whose outputs for dimension j depend on dimensions before j, and on context.

    Hidden units carry a degree, the number of leading dimensions that they may see, and are sorted
    by it. `forward` gives all outputs in one pass. Sampling uses `steps`: the
    units of degree j are computed once, when dimension j becomes known, so that D steps cost about
    as many operations as one pass.

    Args:
        features: number of dimensions D.
        outputs_per_feature: number of outputs for each dimension.
        hidden: width of each hidden layer.
        activation: relu, silu, tanh, gelu, elu or softplus.
        context_features: number of context dimensions, seen by every unit.
        inputs: number of inputs that stand for each dimension; one by default.
        zero_last: start with an output of zero, so that a transform starts as the identity.

    Raises:
        ConfigError: a width that is not positive.
    """

    def __init__(
        self,
        features: int,
        outputs_per_feature: int,
        *,
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        context_features: int = 0,
        inputs: Sequence[int] | None = None,
        zero_last: bool = False,
    ) -> None:
        super().__init__()
        check_least(1, hidden=hidden)
        self.features = features
        self.outputs_per_feature = outputs_per_feature
        self.activation = activation_named(activation)
        steps = torch.arange(features + 1)
        counts = torch.tensor([1] * features if inputs is None else [*inputs])
        degrees = torch.cat(
            [steps.new_zeros(context_features), steps[1:].repeat_interleave(counts)]
        )
        layers, all_degrees = [], [degrees]
        for width in hidden:
            following = _hidden_degrees(width, features, lowest=0 if context_features else 1)
            layers.append(MaskedLinear(following[:, None] >= degrees[None]))
            degrees = following
            all_degrees.append(degrees)
        outputs = steps[:-1].repeat(outputs_per_feature)
        layers.append(MaskedLinear(outputs[:, None] >= degrees[None]))
        # known[i][j]: how many units of layer i depend on the first j dimensions only
        self.known = [torch.searchsorted(d, steps, right=True).tolist() for d in all_degrees]
        if zero_last:
            nn.init.zeros_(layers[-1].weight)
            nn.init.zeros_(layers[-1].bias)
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs for inputs [context, x], (batch, outputs_per_feature, D)."""
        *hidden, last = self.layers
        for layer in hidden:
            x = self.activation(layer(x))
        out: Tensor = last(x).unflatten(1, (self.outputs_per_feature, self.features))
        return out

    def steps(self, batch: int, context: Tensor | None) -> "MaskedSteps":
        """Start a sequential pass over the dimensions for a batch of this size."""
        return MaskedSteps(self, batch, context)


class MaskedSteps:
    """One sequential pass: alternately `outputs()` for dimension j and `push(x_j)`."""

    def __init__(self, net: MaskedMLP, batch: int, context: Tensor | None) -> None:
        self.net = net
        layers = cast("list[MaskedLinear]", list(net.layers))
        self.weights = [layer.masked_weight for layer in layers]
        self.biases = [layer.bias for layer in layers]
        empty = self.weights[0].new_zeros(batch, 0)
        self.units = [empty if context is None else context, *[empty] * (len(self.weights) - 1)]
        self.j = 0
        self._fill_hidden()

    def outputs(self) -> Tensor:
        """Outputs for the next dimension: (batch, outputs_per_feature)."""
        n = self.net.known[-1][self.j]
        rows = slice(self.j, None, self.net.features)
        return F.linear(self.units[-1], self.weights[-1][rows, :n], self.biases[-1][rows])

    def push(self, x: Tensor) -> None:
        """Make the next dimension known by the inputs that stand for it: (batch, inputs)."""
        self.units[0] = torch.cat([self.units[0], x], 1)
        self.j += 1
        self._fill_hidden()

    def _fill_hidden(self) -> None:
        """Compute the hidden units of degree j."""
        for i, (weight, bias) in enumerate(
            zip(self.weights[:-1], self.biases[:-1], strict=True), start=1
        ):
            done, end = self.units[i].shape[1], self.net.known[i][self.j]
            if end > done:
                n = self.net.known[i - 1][self.j]
                new = F.linear(self.units[i - 1], weight[done:end, :n], bias[done:end])
                self.units[i] = torch.cat([self.units[i], self.net.activation(new)], 1)


def _hidden_degrees(width: int, features: int, lowest: int) -> Tensor:
    """Degrees from `lowest` to D - 1, spread evenly and sorted: (width,)."""
    lowest = min(lowest, features - 1)
    return lowest + torch.arange(width) * (features - lowest) // width

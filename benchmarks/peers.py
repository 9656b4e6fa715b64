"""The same architecture as ours, zuko's and nflows' model, with equally many parameters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lightning_flows.flows import MAF, AutoregressiveSplineFlow, Flow, NeuralSplineFlow, RealNVP

__all__ = ["ARCHITECTURES", "Candidate", "Sizes", "candidates", "parameter_count"]


@dataclass(frozen=True)
class Sizes:
    """What all libraries build: layers, the hidden widths of ReLU conditioners, and splines."""

    features: int
    layers: int = 8
    hidden: Sequence[int] = (128, 128)
    bins: int = 8
    bound: float = 5.0


@dataclass(frozen=True)
class Candidate:
    """A model with its log-density, (batch, D) -> (batch,), and its sampler, n -> (n, D)."""

    model: nn.Module
    log_prob: Callable[[Tensor], Tensor]
    sample: Callable[[int], Tensor]


def candidates(architecture: str, sizes: Sizes) -> dict[str, Candidate]:
    """Make one architecture in every library that has it.

    Args:
        architecture: one of `ARCHITECTURES`.
        sizes: what to build.

    Returns:
        Candidates by library, ours first.

    Raises:
        RuntimeError: they differ in their number of parameters, so nothing may be compared.
    """
    made = {library: make(sizes) for library, make in ARCHITECTURES[architecture].items()}
    counts = {library: parameter_count(candidate.model) for library, candidate in made.items()}
    if len(set(counts.values())) > 1:
        raise RuntimeError(f"{architecture} differs in its number of parameters: {counts}.")
    return made


def parameter_count(model: nn.Module) -> int:
    """Number of trainable numbers."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _ours(make: Callable[..., Flow], sizes: Sizes) -> Candidate:
    flow = make(sizes.features, layers=sizes.layers, hidden=sizes.hidden)
    return Candidate(flow, flow, flow.sample)


def _our_spline(sizes: Sizes, *, autoregressive: bool = False) -> Candidate:
    kind = AutoregressiveSplineFlow if autoregressive else NeuralSplineFlow
    return _ours(partial(kind, bins=sizes.bins, bound=sizes.bound), sizes)


def _zuko(sizes: Sizes, *, spline: bool, autoregressive: bool = False) -> Candidate:
    """With zuko, NICE is RealNVP, and MAF with splines is NSF, which fixes the bound."""
    from zuko import flows, transforms

    options: dict[str, Any] = {}
    if spline:
        k = sizes.bins
        options["univariate"] = partial(transforms.MonotonicRQSTransform, bound=sizes.bound)
        options["shapes"] = [(k,), (k,), (k - 1,)]
    make = flows.MAF if autoregressive else flows.NICE
    flow = make(sizes.features, transforms=sizes.layers, hidden_features=sizes.hidden, **options)
    return Candidate(flow, lambda x: flow().log_prob(x), lambda n: flow().sample((n,)))


def _nflows(sizes: Sizes, *, spline: bool) -> Candidate:
    from nflows import distributions, flows, transforms

    net = partial(_NflowsNet, hidden=sizes.hidden)
    layers = []
    for i in range(sizes.layers):
        mask = torch.arange(sizes.features) % 2 != i % 2  # what it maps: zuko's complement
        if spline:
            layer = transforms.PiecewiseRationalQuadraticCouplingTransform(
                mask.int(), net, num_bins=sizes.bins, tails="linear", tail_bound=sizes.bound
            )
        else:
            layer = transforms.AffineCouplingTransform(mask.int(), net)
        layers.append(layer)
    base = distributions.StandardNormal([sizes.features])
    flow = flows.Flow(transforms.CompositeTransform(layers), base)
    return Candidate(flow, flow.log_prob, flow.sample)


class _NflowsNet(nn.Sequential):
    """The conditioner in the form that nflows calls.

    nflows divides spline logits by the root of `hidden_features` where a network has that
    attribute, and fits worse without it.
    """

    def __init__(self, n_in: int, n_out: int, *, hidden: Sequence[int]) -> None:
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(n_in, width), nn.ReLU()]
            n_in = width
        super().__init__(*layers, nn.Linear(n_in, n_out))
        self.hidden_features = hidden[-1]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        out: Tensor = super().forward(x)
        return out


ARCHITECTURES: dict[str, dict[str, Callable[[Sizes], Candidate]]] = {
    "affine coupling": {
        "ours": partial(_ours, RealNVP),
        "zuko": partial(_zuko, spline=False),
        "nflows": partial(_nflows, spline=False),
    },
    "spline coupling": {
        "ours": _our_spline,
        "zuko": partial(_zuko, spline=True),
        "nflows": partial(_nflows, spline=True),
    },
    "affine autoregressive": {
        "ours": partial(_ours, MAF),
        "zuko": partial(_zuko, spline=False, autoregressive=True),
    },
    "spline autoregressive": {
        "ours": partial(_our_spline, autoregressive=True),
        "zuko": partial(_zuko, spline=True, autoregressive=True),
    },
}
"""Makers by architecture and library. nflows' masked networks are built otherwise than these."""

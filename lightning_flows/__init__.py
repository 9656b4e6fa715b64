"""Normalizing flows that learn where data lies and how densely, on PyTorch Lightning.

Names are imported when they are first used: `lightning_flows.flows` and its siblings serve in any
torch program without importing Lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_flows.bases import (
        Bernoulli,
        Categorical,
        ConditionalNormal,
        ConvNormal,
        Density,
        HalfNormal,
        Normal,
        NormalMixture,
        Resampled,
        Uniform,
        ZeroInflated,
    )
    from lightning_flows.families import (
        DensityFlow,
        FlowModule,
        FreeFormInjectiveFlow,
        InjectiveModule,
        RectangularFlow,
        SurjectiveFlow,
        TwoStepFlow,
        load,
    )
    from lightning_flows.flows import (
        MAF,
        NICE,
        ComposedFlow,
        Flow,
        FreeFormFlow,
        Glow,
        InjectiveFlow,
        LatentPriorFlow,
        MixedFlow,
        NeuralSplineFlow,
        PaddedFlow,
        RankedFlow,
        RealNVP,
        SurjectiveSplineFlow,
    )
    from lightning_flows.jacobians import (
        ExactVolume,
        FreeFormVolume,
        Isometry,
        NoVolume,
        OffDiagonal,
        PrincipalFlow,
        PrincipalVolume,
        StochasticVolume,
        Tikhonov,
    )
    from lightning_flows.transforms import Chain, Inverse, Multiscale, Transform, flowify
    from lightning_flows.trusted import trust

__version__ = "0.1.0"

_HOMES = {
    "bases": (
        "Bernoulli",
        "Categorical",
        "ConditionalNormal",
        "ConvNormal",
        "Density",
        "HalfNormal",
        "Normal",
        "NormalMixture",
        "Resampled",
        "Uniform",
        "ZeroInflated",
    ),
    "families": (
        "DensityFlow",
        "FlowModule",
        "FreeFormInjectiveFlow",
        "InjectiveModule",
        "RectangularFlow",
        "SurjectiveFlow",
        "TwoStepFlow",
        "load",
    ),
    "flows": (
        "MAF",
        "NICE",
        "ComposedFlow",
        "Flow",
        "FreeFormFlow",
        "Glow",
        "InjectiveFlow",
        "LatentPriorFlow",
        "MixedFlow",
        "NeuralSplineFlow",
        "PaddedFlow",
        "RankedFlow",
        "RealNVP",
        "SurjectiveSplineFlow",
    ),
    "jacobians": (
        "ExactVolume",
        "FreeFormVolume",
        "Isometry",
        "NoVolume",
        "OffDiagonal",
        "PrincipalFlow",
        "PrincipalVolume",
        "StochasticVolume",
        "Tikhonov",
    ),
    "transforms": ("Chain", "Inverse", "Multiscale", "Transform", "flowify"),
    "trusted": ("trust",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "MAF",
    "NICE",
    "Bernoulli",
    "Categorical",
    "Chain",
    "ComposedFlow",
    "ConditionalNormal",
    "ConvNormal",
    "Density",
    "DensityFlow",
    "ExactVolume",
    "Flow",
    "FlowModule",
    "FreeFormFlow",
    "FreeFormInjectiveFlow",
    "FreeFormVolume",
    "Glow",
    "HalfNormal",
    "InjectiveFlow",
    "InjectiveModule",
    "Inverse",
    "Isometry",
    "LatentPriorFlow",
    "MixedFlow",
    "Multiscale",
    "NeuralSplineFlow",
    "NoVolume",
    "Normal",
    "NormalMixture",
    "OffDiagonal",
    "PaddedFlow",
    "PrincipalFlow",
    "PrincipalVolume",
    "RankedFlow",
    "RealNVP",
    "RectangularFlow",
    "Resampled",
    "StochasticVolume",
    "SurjectiveFlow",
    "SurjectiveSplineFlow",
    "Tikhonov",
    "Transform",
    "TwoStepFlow",
    "Uniform",
    "ZeroInflated",
    "__version__",
    "flowify",
    "load",
    "trust",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__

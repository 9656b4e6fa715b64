"""Whole models in pure torch: densities with `log_prob`, `sample`, `encode` and `decode`."""

from lightning_flows.flows.assignment import AssignmentFlow
from lightning_flows.flows.autoregressive import MAF, AutoregressiveSplineFlow
from lightning_flows.flows.base import Flow
from lightning_flows.flows.circular import CircularSplineFlow
from lightning_flows.flows.composed import ComposedFlow
from lightning_flows.flows.continuous import ContinuousFlow
from lightning_flows.flows.coupling import NICE, NeuralSplineFlow, RealNVP
from lightning_flows.flows.free_form import FreeFormFlow
from lightning_flows.flows.glow import Glow
from lightning_flows.flows.injective import InjectiveFlow, PaddedFlow
from lightning_flows.flows.latent_prior import LatentPriorFlow
from lightning_flows.flows.mixed import MixedFlow
from lightning_flows.flows.radial import RadialBase
from lightning_flows.flows.ranked import RankedFlow
from lightning_flows.flows.surjective import SurjectiveSplineFlow
from lightning_flows.flows.transport import FieldFlow
from lightning_flows.flows.truncated import TruncatedFlow, truncate

__all__ = [
    "MAF",
    "NICE",
    "AssignmentFlow",
    "AutoregressiveSplineFlow",
    "CircularSplineFlow",
    "ComposedFlow",
    "ContinuousFlow",
    "FieldFlow",
    "Flow",
    "FreeFormFlow",
    "Glow",
    "InjectiveFlow",
    "LatentPriorFlow",
    "MixedFlow",
    "NeuralSplineFlow",
    "PaddedFlow",
    "RadialBase",
    "RankedFlow",
    "RealNVP",
    "SurjectiveSplineFlow",
    "TruncatedFlow",
    "truncate",
]

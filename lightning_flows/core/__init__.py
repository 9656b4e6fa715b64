"""The ground that all parts stand on: errors, shapes, recipes, supports, noise."""

from lightning_flows.core.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DivergenceError,
    FlowError,
    ShapeError,
)
from lightning_flows.core.noise import Placed, Reproducible, Resampled
from lightning_flows.core.support import POSITIVE, REAL, RECTIFIED, SORTED, UNIT, Support
from lightning_flows.core.trusted import trust

__all__ = [
    "POSITIVE",
    "REAL",
    "RECTIFIED",
    "SORTED",
    "UNIT",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DivergenceError",
    "FlowError",
    "Placed",
    "Reproducible",
    "Resampled",
    "ShapeError",
    "Support",
    "trust",
]

"""The module of one's own with its data, as `two_ranks.py` finds it too."""

from functools import partial

from own_parts.noisy_sine import SineGivenTime
from own_parts.robust import RobustModule

from lightning_flows import RealNVP
from proofs.module_case import ModuleCase

CASES = {
    "RobustModule": ModuleCase(
        partial(RobustModule, partial(RealNVP, layers=2, hidden=(8,)), limit=5.0),
        partial(SineGivenTime, 217),
    )
}

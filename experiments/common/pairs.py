"""Two flows that learn the same toy data: one with surjections or added noise, and one without."""

from dataclasses import dataclass
from typing import Literal

import torch

from experiments.common.training import Budget, fit
from lightning_flows.datamodules import Toy
from lightning_flows.datamodules.toy import ToyName
from lightning_flows.modules import FlowFactory, SurjectiveModule

__all__ = ["CHUNK", "KINDS", "RATE", "ROWS", "Case", "Kind", "train"]

RATE = 3e-3
ROWS = {"n_train": 20_000, "n_val": 0, "n_test": 5_000}
CHUNK = 50  # draws at a time

Kind = Literal["bijective", "surjective"]
KINDS: tuple[Kind, Kind] = ("bijective", "surjective")


@dataclass(frozen=True)
class Case:
    """A data set and the two flows that learn it.

    Args:
        data: name of the toy set.
        name: of what the second flow takes out, or of the layers that noise stands beside.
        bijective: makes the flow of full dimension.
        surjective: makes the flow beside it.
        longer: how many times as many steps as other cases.
    """

    data: ToyName
    name: str
    bijective: FlowFactory
    surjective: FlowFactory
    longer: int = 1

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of parameters of the two flows."""
        shape = Toy(self.data).event_shape
        first, second = (
            sum(p.numel() for p in make(shape).parameters())
            for make in (self.bijective, self.surjective)
        )
        return first, second


def train(case: Case, kind: Kind, seed: int, steps: int) -> tuple[SurjectiveModule, Toy, bool]:
    """Train one of the two flows of a case on points of this seed.

    Returns:
        The module, its data, and whether all parameters are finite.
    """
    data = Toy(case.data, **ROWS, seed=seed)
    budget = Budget.of(data, steps * case.longer)
    torch.manual_seed(seed)
    make = case.bijective if kind == "bijective" else case.surjective
    module = SurjectiveModule(make, data.event_shape, chunk_size=CHUNK, **budget.recipe(RATE))
    return module, data, fit(module, data, budget)

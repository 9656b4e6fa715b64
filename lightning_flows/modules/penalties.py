"""Penalties of a module: what it is given, their names, and what they add to a loss."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_flows.core.errors import ConfigError
from lightning_flows.modules.arguments import part_of
from lightning_flows.objectives import Penalty

__all__ = ["named", "penalties_of", "weighed"]


def penalties_of(penalties: Any) -> list[Penalty]:
    """Penalties, made from their recipes where a checkpoint brings those.

    Raises:
        ConfigError: no list, or something else among them.
    """
    if not isinstance(penalties, Sequence) or isinstance(penalties, str):
        raise ConfigError(f"penalties is {penalties!r}; give a list such as [Tikhonov(0.01)].")
    return [part_of(part, Penalty, "a penalty", "Tikhonov(0.01)") for part in penalties]


def named(penalties: Iterable[Penalty]) -> list[tuple[str, Penalty]]:
    """Penalties with the names they are logged under, the second of a kind as `<name>_2`."""
    seen = Counter[str]()
    pairs = []
    for penalty in penalties:
        seen[penalty.name] += 1
        count = seen[penalty.name]
        pairs.append((penalty.name if count == 1 else f"{penalty.name}_{count}", penalty))
    return pairs


def weighed(
    pairs: Sequence[tuple[str, Penalty]], values: Sequence[Tensor]
) -> tuple[Tensor | float, dict[str, Tensor]]:
    """Σ_k λ_k·penalty_k of each sample, (batch,), and the penalties as they are logged.

    Args:
        pairs: penalties with their names.
        values: of each penalty, (batch,), NaN where it fails, which counts as zero.
    """
    parts = {
        f"penalty/{name}": torch.where(value.detach().isnan(), 0.0, value)
        for (name, _), value in zip(pairs, values, strict=True)
    }
    weights = [penalty.weight for _, penalty in pairs]
    return sum(w * part for w, part in zip(weights, parts.values(), strict=True)), parts

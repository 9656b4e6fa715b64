"""Test likelihood under one small budget: ours, zuko and nflows on the same batches."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import mean

import torch
from torch.nn.utils import clip_grad_norm_

from benchmarks.data import DATASETS, Split
from benchmarks.intervals import shown, spread, unpaired
from benchmarks.peers import Candidate, Sizes, candidates
from benchmarks.report import Row

__all__ = ["SETTINGS", "Setting", "fit", "quality_rows"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class Setting:
    """Budget on one data set.

    Args:
        data: one of `DATASETS`.
        steps: steps of Adam; its learning rate falls from 1e-3 to 0 by a cosine.
        batch: rows of a step, drawn with replacement.
        evaluations: how often the validation data is looked at.
        layers: of the flow.
        hidden: widths of its conditioners.
        limit: rows of every split that are used; all unless given.
    """

    data: str
    steps: int
    batch: int
    evaluations: int
    layers: int = 8
    hidden: tuple[int, ...] = (128, 128)
    limit: int | None = None

    def quick(self) -> "Setting":
        """Enough to see that everything runs; its figures mean nothing."""
        return replace(self, steps=2, batch=16, evaluations=2, layers=2, hidden=(8, 8), limit=64)


SETTINGS = (
    Setting("moons", 1000, 512, 20),
    Setting("checkerboard", 1500, 512, 20),
    Setting("digits", 240, 256, 48),  # overfits within 100 steps
)


def quality_rows(settings: tuple[Setting, ...], seeds: int, say: Say) -> Iterator[Row]:
    """Train everything and compare.

    Args:
        settings: data sets and budgets.
        seeds: number of repetitions: initialization and order of batches.
        say: told of every result as it comes.
    """
    pairs = {"spline coupling": 2, "spline autoregressive": 1}  # and their numbers of peers
    looks = len(settings) * sum(pairs.values())
    for setting in settings:
        split = DATASETS[setting.data]().first(setting.limit)
        for architecture in pairs:
            nats = _nats(setting, split, architecture, seeds, say)
            ours = nats.pop("ours")
            for library, theirs in nats.items():
                yield _row(setting, split, architecture, ours, library, theirs, looks)


def fit(candidate: Candidate, split: Split, setting: Setting, seed: int) -> tuple[float, int]:
    """Train, and score the checkpoint that did best on the validation data.

    Returns:
        Mean log-likelihood of the test data in nats, and the step of the checkpoint.
    """
    model, log_prob = candidate.model, candidate.log_prob
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, setting.steps)
    generator = torch.Generator().manual_seed(seed)
    every = max(1, setting.steps // setting.evaluations)
    best, best_step = -math.inf, 0
    state = {name: value.clone() for name, value in model.state_dict().items()}
    for step in range(1, setting.steps + 1):
        index = torch.randint(len(split.train), (setting.batch,), generator=generator)
        optimizer.zero_grad()
        (-log_prob(split.train[index]).mean()).backward()
        clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        scheduler.step()
        if step % every == 0 or step == setting.steps:
            with torch.no_grad():
                score = log_prob(split.val).mean().item()
            if score > best:
                best, best_step = score, step
                state = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(state)
    with torch.no_grad():
        return log_prob(split.test).mean().item() + split.offset, best_step


def _nats(
    setting: Setting, split: Split, architecture: str, seeds: int, say: Say
) -> dict[str, list[float]]:
    sizes = Sizes(split.train.shape[1], layers=setting.layers, hidden=setting.hidden)
    nats: dict[str, list[float]] = {}
    for library in candidates(architecture, sizes):
        nats[library] = []
        for seed in range(seeds):
            torch.manual_seed(seed)
            candidate = candidates(architecture, sizes)[library]
            result, step = fit(candidate, split, setting, seed)
            nats[library].append(result)
            say(
                f"{setting.data}, {architecture}, {library}, seed {seed}: {result:.3f} nats "
                f"(checkpoint of step {step} of {setting.steps})"
            )
    return nats


def _row(
    setting: Setting,
    split: Split,
    architecture: str,
    ours: list[float],
    library: str,
    theirs: list[float],
    looks: int,
) -> Row:
    found = unpaired(ours, theirs)
    return Row(
        f"{setting.data}, {architecture}",
        _figure(ours, split),
        library,
        _figure(theirs, split),
        shown(found, looks),
        numbers={"ours": ours, "peer": theirs, "difference": found[0], "standard_error": found[1]},
    )


def _figure(nats: list[float], split: Split) -> str:
    bits = split.bits_per_dim(mean(nats))
    suffix = "" if bits is None else f" ({bits:.3f} bits/dim)"
    return f"{spread(nats, digits=4)}{suffix}"

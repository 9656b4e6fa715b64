"""Speed of the flows beside their peers: training steps and sampling."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from benchmarks.components import component_rows
from benchmarks.free_form import free_form_rows
from benchmarks.hypersurfaces import hypersurface_rows
from benchmarks.memory import memory_rows
from benchmarks.peers import Candidate, Sizes, candidates
from benchmarks.rectangular import rectangular_rows
from benchmarks.report import Row, speed_row
from benchmarks.surjective import surjective_rows
from benchmarks.timing import Stopwatch, Timing, interleave, stopwatch
from benchmarks.trainer import trainer_rows

__all__ = ["Effort", "speed_rows"]


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Args:
        sizes: of all flows beside peers.
        batch: rows of a training step, and draws of a sampling.
        rounds: rounds that count; a tenth of them where a case is slow.
        warmup: rounds before those.
        repeats: steps or draws in one round.
        trainer_steps: steps of the Trainer in one round.
    """

    sizes: Sizes = field(default_factory=lambda: Sizes(64))
    batch: int = 512
    rounds: int = 20
    warmup: int = 3
    repeats: int = 3
    trainer_steps: int = 60

    def __str__(self) -> str:
        s = self.sizes
        widths = "x".join(map(str, s.hidden))
        return (
            f"D={s.features}, batch or draws {self.batch}, {s.layers} layers, conditioners "
            f"{widths}, splines of {s.bins} bins on ±{s.bound:g}"
        )

    @classmethod
    def quick(cls) -> "Effort":
        """Enough to see that everything runs; its figures mean nothing."""
        return cls(Sizes(6, layers=2, hidden=(8, 8)), 16, 1, 1, 1, 4)


def speed_rows(effort: Effort) -> Iterator[Row]:
    """Measure all cases one after the other."""
    sizes = effort.sizes
    affine = candidates("affine coupling", sizes)
    timing = _time(affine, effort, _training)
    yield speed_row("affine coupling: training step", timing, "zuko", at_most=0.80)
    yield speed_row("affine coupling: training step", timing, "nflows", at_most=0.80)
    timing = _time(affine, effort, _sampling)
    yield speed_row("affine coupling: sampling", timing, "zuko")
    yield speed_row("affine coupling: sampling", timing, "nflows")

    spline = candidates("spline coupling", sizes)
    timing = _time(spline, effort, _training)
    yield speed_row("spline coupling: training step", timing, "zuko", at_most=0.75)
    yield speed_row("spline coupling: training step", timing, "nflows")
    timing = _time(spline, effort, _sampling)
    yield speed_row("spline coupling: sampling", timing, "zuko")
    yield speed_row("spline coupling: sampling", timing, "nflows")

    few = replace(effort, rounds=max(1, effort.rounds // 10), warmup=1, repeats=1)
    for kind, goal in (("affine", None), ("spline", 1 / 8)):
        made = candidates(f"{kind} autoregressive", sizes)
        timing = _time(made, effort, _training)
        yield speed_row(f"{kind} autoregressive: training step", timing, "zuko")
        timing = _time(made, few, _sampling)
        yield speed_row(f"{kind} autoregressive: sampling", timing, "zuko", at_most=goal)

    yield from trainer_rows(
        sizes,
        batch=effort.batch,
        steps=effort.trainer_steps,
        rounds=max(1, effort.rounds // 2),
        warmup=1,
    )
    quick, rounds = effort.rounds == 1, max(1, effort.rounds // 2)
    yield from rectangular_rows(quick=quick, rounds=rounds, warmup=1)
    yield from free_form_rows(quick=quick, rounds=rounds, warmup=2)
    yield from hypersurface_rows(quick=quick, rounds=rounds, warmup=2)
    yield from surjective_rows(quick=quick, rounds=rounds, warmup=2)
    yield from memory_rows(quick=quick)
    yield from component_rows(quick=quick, rounds=max(1, effort.rounds // 4), warmup=1)


def _time(
    made: dict[str, Candidate],
    effort: Effort,
    work_of: Callable[[Candidate, Tensor], Callable[[], object]],
) -> Timing:
    torch.manual_seed(0)
    x = torch.randn(effort.batch, effort.sizes.features)
    watches: dict[str, Stopwatch] = {
        name: stopwatch(work_of(candidate, x), effort.repeats) for name, candidate in made.items()
    }
    return interleave(watches, rounds=effort.rounds, warmup=effort.warmup)


def _training(candidate: Candidate, x: Tensor) -> Callable[[], object]:
    """A step of maximum likelihood with torch's default Adam."""
    optimizer = torch.optim.Adam(candidate.model.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        (-candidate.log_prob(x).mean()).backward()
        optimizer.step()

    return step


def _sampling(candidate: Candidate, x: Tensor) -> Callable[[], object]:
    def draw() -> Tensor:
        with torch.no_grad():
            return candidate.sample(len(x))

    return draw

"""Process CPU time of candidates that take turns, so that only ratios need to be trusted."""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles

__all__ = ["Ratio", "Stopwatch", "Timing", "interleave", "stopwatch"]

Stopwatch = Callable[[], float]
"""Does its work once and returns the seconds that a unit of it took."""


@dataclass(frozen=True)
class Ratio:
    """Quotient of two candidates over the rounds: its median and quartiles."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Timing:
    """Seconds of each candidate in each round."""

    seconds: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        """Median seconds of a candidate."""
        return median(self.seconds[name])

    def ratio(self, name: str, other: str) -> Ratio:
        """Quotient of two candidates, taken within each round."""
        quotients = [a / b for a, b in zip(self.seconds[name], self.seconds[other], strict=True)]
        if len(quotients) == 1:
            return Ratio(quotients[0], quotients[0], quotients[0])
        low, middle, high = quantiles(quotients, n=4, method="inclusive")
        return Ratio(middle, low, high)


def stopwatch(work: Callable[[], object], repeats: int = 1) -> Stopwatch:
    """Time `repeats` calls of a function on the clock of this process."""

    def run() -> float:
        start = time.process_time()
        for _ in range(repeats):
            work()
        return (time.process_time() - start) / repeats

    return run


def interleave(candidates: Mapping[str, Stopwatch], *, rounds: int, warmup: int) -> Timing:
    """Run candidates in turn, A, B, C, A, B, C and so on.

    Args:
        candidates: stopwatches by name.
        rounds: rounds that count.
        warmup: rounds before those, which do not.

    Returns:
        Timing of the rounds that count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    gc.collect()
    gc.freeze()  # what is there already makes no collection slow
    try:
        for turn in range(warmup + rounds):
            for name, run in candidates.items():
                gc.collect()  # nobody pays for the garbage of the one before
                elapsed = run()
                if turn >= warmup:
                    seconds[name].append(elapsed)
    finally:
        gc.unfreeze()
    return Timing(seconds)

"""How the results on the consistency of joint objectives read."""

from statistics import median

from experiments.common.pages import Figure, Page
from experiments.common.results import Results, chosen, finite
from experiments.consistency.run import BOUND, OFF, TWO_STEP, noise, slope

__all__ = ["page"]

GOAL = 0.01  # nats


def page(results: Results) -> Page:
    """The page."""
    facts, options, runs = results.facts, results.options, results.runs
    points = options["points"]
    methods = list(dict.fromkeys(run["method"] for run in runs))
    most = max(points)

    def of(method: str, n: int) -> list[float]:
        return finite(chosen(runs, method=method, n=n), "kl")

    slopes = {method: slope(chosen(runs, method=method), points) for method in methods}
    ends = ", ".join(
        f"{method} {median(of(method, most)):.2g} ({max(of(method, most)):.2g} at worst)"
        for method in methods
    )
    within = {method: sum(kl <= GOAL for kl in of(method, most)) for method in methods}
    counts = ", ".join(f"{method} in {count}" for method, count in within.items())
    seeds = options["seeds"]
    return Page(
        question="Does the density on a manifold come closer with more data?",
        answer=f"With {most:,} points on a circle the KL divergences have medians of {ends} nats "
        f"over {seeds} seeds; they are {GOAL:g} or less for {counts} of them.",
        head=["median KL, nats (worst)", *(f"n = {n:,}" for n in points), "log-log slope"],
        rows=[
            [
                method,
                *(f"{median(of(method, n)):.2g} ({max(of(method, n)):.2g})" for n in points),
                f"{slopes[method]:.2f}",
            ]
            for method in methods
        ],
        notes=[
            "KL(true ‖ learned density along the circle, normalized) by quadrature over the angle, "
            "of a von Mises density with concentration κ = 2 without noise; one latent and a "
            f"standard normal prior. The slope is that of the median over n. {options['steps']:,} "
            f"steps of at most 256 points, Adam at {facts['rate']:g} and a cosine, the epoch that "
            f"does best on one point of {facts['share']}.",
            f"{OFF.capitalize()}: 8 affine couplings, noise of standard deviation "
            f"σ = {facts['noise']:g} n^({facts['power']:g}) "
            f"({noise(min(points)):.2g} to {noise(most):.2g}) added in training, a learned scale "
            f"with a floor of σ/2, and the squared residual with weight {facts['weight']:g}/(2σ²); "
            "in a pilot of one seed without that weight the manifold came to lie across the "
            f"circle. {BOUND.capitalize()}: residual networks and a learned scale with a floor of "
            f"σ. {TWO_STEP.capitalize()}: the same networks as an autoencoder, then a spline prior "
            "of 16 bins for as many steps again.",
            "An encoder has to cut the circle open, which costs some density on both sides of the "
            "cut with any number of points.",
        ],
        figure=Figure("consistency.png", "KL divergence over the number of points, log-log."),
        keys=["method", "n"],
        measures=["kl", "mass", "error"],
    )

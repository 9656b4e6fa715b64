"""How the results on twisted latents read."""

from experiments.common.pages import Figure, Page
from experiments.common.results import Results, chosen

__all__ = ["page"]


def page(results: Results) -> Page:
    """The page."""
    facts, runs = results.facts, results.runs
    linear, twisted, still, repaired = (
        chosen(runs, flow=name)[0]
        for name in ("linear", "twisted", "then maximum likelihood", "then a Tikhonov term")
    )
    true = _pair(facts["scales"])
    return Page(
        question="Does the likelihood fix the components?",
        answer=f"Twisted latents have a negative log-likelihood of {twisted['nll']:.3f} nats "
        f"({linear['nll']:.3f} before the twist) and scales of {_pair(twisted['scales'])} in "
        f"place of {true}, which "
        f"{results.options['steps']} steps of maximum likelihood leave at "
        f"{_pair(still['scales'])}; as many with a Tikhonov term of α = {facts['alpha']:g} "
        f"end at {_pair(repaired['scales'])}, at a price of "
        f"{repaired['nll'] - linear['nll']:.1g} nats.",
        head=["flow", "nats", "median scales", "angle of the first axis to PCA"],
        rows=[
            [run["flow"], f"{run['nll']:.4f}", _pair(run["scales"]), f"{run['angle']:.2g}°"]
            for run in (linear, twisted, still, repaired)
        ],
        notes=[
            f"Gaussian data with standard deviations of {true}, {facts['points']} points, full "
            "batches in double precision. Scales are de-shrunk where there was a Tikhonov term. "
            "The twist turns latents by an angle that grows with their square norm: it preserves "
            "volume and the standard normal, so that maximum likelihood has no gradient that "
            "would undo it.",
        ],
        figure=Figure(
            "twist.png",
            "Components of a linear flow, of the same flow twisted, and after training with a "
            "Tikhonov term; the spectrum along that training.",
        ),
    )


def _pair(scales: list[float]) -> str:
    return " and ".join(f"{value:.2f}" for value in scales)

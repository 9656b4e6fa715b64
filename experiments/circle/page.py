"""How the results on the circle read."""

from benchmarks.intervals import explain, shown, spread_name
from experiments.circle.run import BETA, FREE, JOINT, METHODS, PRIORS, RATE, WARMUP
from experiments.common.pages import Figure, Page, average, cell, differ
from experiments.common.results import Results, chosen

__all__ = ["page"]


def page(results: Results) -> Page:
    """The page."""
    runs, options = results.runs, results.options
    joint = [average(chosen(runs, method=name), "kl") for name in JOINT]
    twins = [f"two-step, free-form nets, {prior}" for prior in PRIORS]
    ours = chosen(runs, method=FREE)
    gaps = [differ(chosen(runs, method=name), ours, "kl") for name in twins]
    texts = [f"with a {p} prior {shown(gap, 3)}" for p, gap in zip(PRIORS, gaps, strict=True)]
    rows = []
    for name in METHODS:
        mine = chosen(runs, method=name)
        broken = sum(run["kl"] is None for run in mine)
        rows.append([name, *(cell(mine, m) for m in ("kl", "mass", "error")), str(broken)])
    return Page(
        question="Does joint training learn the density on a circle better than two steps do?",
        answer=f"Joint methods end at KL divergences of {min(joint):.2g} to {max(joint):.2g} nats "
        f"in the mean; two steps with the same free-form networks differ from them, in nats, "
        f"{', '.join(texts)}.",
        head=["method and prior", "KL, nats", "mass", "squared error", "NaN"],
        rows=rows,
        notes=[
            f"Two steps minus joint, seed by seed. {explain(3, 'seeds and their points')}",
            "A von Mises distribution of concentration κ = 2, without noise, one latent; "
            f"β = {BETA:g}, {options['steps']} steps of 256 points, Adam at {RATE:g} and a cosine, "
            f"{spread_name(options['seeds'])}; each seed has points of its own. Joint methods have "
            "a fixed standard normal prior: exact with 8 affine couplings, free-form with residual "
            f"networks; their first {WARMUP:.0%} of steps learn the reconstruction alone. (With "
            "one latent every normalized probe is ±1, so the stochastic volume is the exact one.) "
            "Two-step trains the autoencoder for as many steps, then the spline prior for as many "
            "again; the autoencoder is the same for the three priors. KL is KL(true ‖ learned "
            "density along the circle, normalized), mass the integral of the learned density along "
            "the circle.",
            "Nothing makes an autoencoder spread its latents like a normal distribution, which a "
            "fitted prior makes up for. The peaks in the densities are where the circle is cut "
            "open.",
        ],
        figure=Figure(
            "circle.png",
            "Above: learned curves of the first seed, colored by density. Below: densities along "
            "the angle of all seeds, over the true one.",
        ),
        keys=["method"],
        measures=["kl", "mass", "error"],
    )

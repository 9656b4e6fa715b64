"""How the results on gradients of the log-volume read."""

from experiments.common.pages import Figure, Page, grid
from experiments.common.results import Record, Results, chosen

__all__ = ["page"]

STATES = ("random", "trained")
SHORT = (
    "exact",
    "stochastic, direct",
    "free-form, encoder at x",
    "free-form, decoder at x̂",
    "free-form, probe at x",
    "principal",
)


def page(results: Results) -> Page:
    """The page."""
    facts, options, runs = results.facts, results.options, results.runs
    flows = list(dict.fromkeys(run["flow"] for run in runs))
    names = list(dict.fromkeys(run["strategy"] for run in runs))
    probes = facts["points"] * facts["probes"] * options["draws"]

    def one(flow: str, name: str, state: str) -> Record:
        return chosen(runs, flow=flow, strategy=name, state=state)[0]

    short = [
        [name, *(f"{one(flow, name, s)['cosine']:.3f}" for flow in flows for s in STATES)]
        for name in SHORT
    ]
    long = [
        [flow, name, *(text for state in STATES for text in _cells(one(flow, name, state)))]
        for flow in flows
        for name in names
    ]
    stochastic = [one(flow, "stochastic, direct", "trained") for flow in flows]
    encoder = [one(flow, "free-form, encoder at x", "trained") for flow in flows]
    return Page(
        question="How well do the volume strategies agree with the exact gradient?",
        answer="After training, the stochastic volume is off by at most "
        f"{max(run['bias'] for run in stochastic):.1g} of the gradient's norm, where the noise of "
        f"the comparison is {max(run['noise'] for run in stochastic):.1g}; the free-form surrogate "
        f"through the encoder at x has a cosine of {encoder[1]['cosine']:.3f} with {flows[1]} and "
        f"of {encoder[0]['cosine']:.3f} with a {flows[0]}.",
        head=["cosine of the mean", *(f"{flow}, {state}" for flow in flows for state in STATES)],
        rows=short,
        notes=[
            f"D = {facts['features']}, d = {facts['latents']}, {facts['points']} points, float64; "
            f"trained: {options['steps']} steps of joint training with the exact volume. Cosine "
            f"and relative bias are those of the mean over {probes:,} probes (bias: what is not "
            "above its noise is none).",
            "Each strategy is compared on the parameters that it sends its gradient to: with that "
            "of ½ log det g'ᵀg' at f(x) on the decoder's, with that of -½ log det f'f'ᵀ at x on "
            "the encoder's; a coupling flow has one network for both, and the first is the "
            "reference. A coupling flow's encoder is a left inverse, not the pseudo-inverse, so "
            "free-form surrogates are biased there however well it is trained.",
        ],
        figure=Figure("gradients.png", "Cosine and relative bias of every strategy."),
        details=[
            (
                "All strategies",
                grid(
                    ["flow", "strategy"]
                    + [
                        f"{state}: {name}"
                        for state in STATES
                        for name in ("cosine", "bias (noise)", "cosine of one probe")
                    ],
                    long,
                ),
            )
        ],
    )


def _cells(run: Record) -> list[str]:
    bias = "–" if run["bias"] is None else f"{run['bias']:.2g} ({run['noise']:.1g})"
    return [f"{run['cosine']:.3f}", bias, f"{run['single']:.3f}"]

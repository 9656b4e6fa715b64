"""How the results on the time of a step read."""

from experiments.common.pages import Figure, Page
from experiments.common.results import Results, chosen

__all__ = ["page"]


def page(results: Results) -> Page:
    """The page."""
    facts, options, runs = results.facts, results.options, results.runs
    names = list(dict.fromkeys(run["volume"] for run in runs))
    columns = [("d", d) for d in options["latents"]] + [("D", n) for n in options["data"]]

    def time(name: str, axis: str, size: int) -> float:
        return float(chosen(runs, volume=name, axis=axis, size=size)[0]["seconds"])

    few, many = min(options["latents"]), max(options["latents"])
    factors = {name: time(name, "d", many) / time(name, "d", few) for name in names}
    return Page(
        question="How does the time of a step grow with the dimensions?",
        answer=f"From d = {few} to d = {many} latents a step with the exact volume takes "
        f"{factors['exact']:.3g} times as long, one with conjugate gradients "
        f"{factors['stochastic, CG']:.2g} times, a free-form one {factors['free-form']:.2g} times, "
        f"and one with a product for each latent in a loop {factors['loop of JVPs']:.3g} times.",
        head=["volume, milliseconds", *(f"{axis}={size}" for axis, size in columns)],
        rows=[
            [name, *(f"{1e3 * time(name, *column):.3g}" for column in columns)] for name in names
        ],
        notes=[
            f"CPU time, one thread, {options['batch']} points, forward and backward: latent "
            f"dimension d with D = {facts['wide']}, and data dimension D with d = "
            f"{facts['narrow']}; the fastest of {options['rounds']} rounds in which the strategies "
            "take turns. What counts is how the lines rise, not where they lie.",
        ],
        figure=Figure("growth.png", "Time of a step over d and over D."),
    )

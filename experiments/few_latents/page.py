"""How the results on flows of few latents read."""

from benchmarks.intervals import spread_name
from experiments.common.foreign import AMBIENT, FOREIGN
from experiments.common.pages import Page, average, cell
from experiments.common.results import Results, chosen

__all__ = ["page"]


def page(results: Results) -> Page:
    """The page."""
    facts, options, runs = results.facts, results.options, results.runs
    models = list(dict.fromkeys(run["model"] for run in runs))
    others = FOREIGN[facts["own"]]
    rows, areas, nats = [], [], {}
    for model in models:
        mine = chosen(runs, model=model)
        scores = {other: [run["auroc"].get(other, {}) for run in mine] for other in others}
        fits = [run["fit"] for run in mine]
        areas += [average(found, AMBIENT) for found in scores.values()]
        nats[model] = average(fits, AMBIENT)
        cells = [cell(found, AMBIENT, 4) for found in scores.values()]
        rows.append([model, *cells, cell(fits, AMBIENT, 4), cell(mine, "seconds")])
    bijective = nats["bijective spline flow"]
    funnels = [value - bijective for model, value in nats.items() if "funnels" in model]
    vaes = [value - bijective for model, value in nats.items() if "VAE" in model]
    return Page(
        question="Do flows of few latents tell foreign images?",
        answer=f"On these easy pairs all models have an AUROC of {min(areas):.4f} or more; the "
        f"mean −log density of funnels is {min(funnels):.0f} to {max(funnels):.0f} nats above that "
        f"of the bijective flow, and the bound of autoencoders {min(vaes):.0f} to {max(vaes):.0f}.",
        head=[
            "model",
            *(f"{facts['own']} → {other}" for other in others),
            "−log density of validation images, nats",
            "CPU seconds",
        ],
        rows=rows,
        notes=[
            f"Trained on {facts['own']}, {options['steps']} steps of {facts['batch']} images with "
            f"Adam at {facts['rate']:g} and a cosine, {spread_name(options['seeds'])}; the seed "
            "also draws the images that are validated on and scored. AUROC of the log-density of "
            f"all pixels (of its lower bound for the VAE, one draw), {facts['test']} test images "
            "of each set; preprocessing is counted. Funnels take 784 pixels to 196, 64, 16 and "
            "then to the latents. Each pixel is standardized by itself, which makes both pairs "
            "easy: this says little about latents.",
        ],
    )

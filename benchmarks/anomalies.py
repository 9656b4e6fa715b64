"""Foreign images beside digits: densities of flows that keep 4 or 16 latents of 784 pixels.

    LIGHTNING_FLOWS_DATA=data python -m benchmarks.anomalies --out docs/results.md

Models are trained on MNIST and asked about Fashion-MNIST and notMNIST. Funnels score what they
drop, so their densities are those of all pixels, as a bijective flow's are; that of a variational
autoencoder is a lower bound.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from torch.optim import Adam
from torch.optim.lr_scheduler import CosineAnnealingLR

from benchmarks.experiment import begin, command_line
from benchmarks.foreign import AMBIENT, BATCH, EPOCHS, FOREIGN, TEST, Outcome, load, own_copy, run
from benchmarks.intervals import spread, spread_name
from benchmarks.report import write_section
from lightning_flows.bases import ConditionalNormal
from lightning_flows.flows import ComposedFlow, NeuralSplineFlow, SurjectiveSplineFlow
from lightning_flows.modules import FlowModule, SurjectiveModule
from lightning_flows.transforms import VAELayer

__all__ = ["METHODS", "main", "table"]

OWN = "MNIST"
RATE = 1e-3
_trained = partial(
    SurjectiveModule,
    optimizer=partial(Adam, lr=RATE, fused=True),
    scheduler=partial(CosineAnnealingLR, T_max=EPOCHS),
)


def _funnels(latents: int) -> Callable[..., FlowModule]:
    density = partial(ConditionalNormal, hidden=(256, 256))
    flow = partial(
        SurjectiveSplineFlow,
        widths=(196, 64, 16, latents),
        bins=4,
        hidden=(256, 256),
        density=density,
    )
    return partial(_trained, flow)


def _vae(latents: int) -> Callable[..., FlowModule]:
    nets = partial(ConditionalNormal, hidden=(256, 256))
    layer = partial(VAELayer, latent_shape=latents, encoder=nets, decoder=nets)
    return partial(_trained, partial(ComposedFlow, layers=[layer]))


METHODS: dict[str, Callable[..., FlowModule]] = {
    "funnels, 4 latents": _funnels(4),
    "funnels, 16 latents": _funnels(16),
    "bijective spline flow": partial(
        _trained, partial(NeuralSplineFlow, layers=4, bins=4, hidden=(256, 256))
    ),
    "VAE, 4 latents": _vae(4),
    "VAE, 16 latents": _vae(16),
}
"""What makes a model from the shape of its data."""


def table(outcomes: Mapping[str, Sequence[Outcome]], steps: int) -> str:
    """Markdown: area under the ROC curve for each foreign set, and the fit to MNIST."""
    seeds = max(map(len, outcomes.values()))
    lines = [
        "## Foreign images and few latents",
        "",
        f"Trained on {OWN}, {steps} steps of {BATCH} images with Adam at {RATE:g} and a cosine, "
        f"{spread_name(seeds)}; conditioners 256x256. AUROC of the log-density of "
        f"all pixels (of its lower bound for the VAE, one draw), {TEST} test images of each set; "
        "preprocessing is counted. Funnels take 784 pixels to 196, 64, 16 "
        "and then to the latents. Each pixel is standardized by itself, which makes both pairs "
        "easy.",
        "",
        f"| model | {' | '.join(f'{OWN} → {other}' for other in FOREIGN[OWN])} | −log density of "
        "validation images, nats | CPU seconds | NaN |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, runs in outcomes.items():
        sound = [each for each in runs if each.sound]
        cells = [
            spread([each.auroc[other, AMBIENT] for each in sound], digits=4)
            for other in FOREIGN[OWN]
        ]
        cells.append(spread([each.fit[AMBIENT] for each in sound], digits=4))
        cells.append(spread([each.seconds for each in sound]))
        lines.append(f"| {name} | {' | '.join(cells)} | {len(runs) - len(sound)} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    options = begin(command_line(__doc__, "data", "out", seeds=2, steps=500), arguments)
    outcomes: dict[str, list[Outcome]] = {name: [] for name in METHODS}
    with own_copy(options.data) as folder:
        for seed in range(options.seeds):
            own = load(OWN, folder, seed)
            foreign = {other: load(other, folder, seed) for other in FOREIGN[OWN]}
            for name, make in METHODS.items():
                outcomes[name].append(run(make, own, foreign, seed=seed, steps=options.steps))
                print(f"seed {seed}, {name}: {outcomes[name][-1]}", flush=True)
                write_section(options.out, "few latents", table(outcomes, options.steps))
    print(table(outcomes, options.steps))


if __name__ == "__main__":
    main()

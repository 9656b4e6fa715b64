"""Foreign images beside digits: densities of flows that keep 4 or 16 latents of 784 pixels.

    LIGHTNING_FLOWS_DATA=data python -m experiments.few_latents.run

Models are trained on MNIST and asked about Fashion-MNIST and notMNIST. Funnels score what they
drop, so their densities are those of all pixels, as a bijective flow's are; that of a variational
autoencoder is a lower bound.
"""

from collections.abc import Callable, Sequence
from functools import partial

from torch.optim import Adam
from torch.optim.lr_scheduler import CosineAnnealingLR

from experiments.common.command import begin, command_line
from experiments.common.foreign import BATCH, EPOCHS, FOREIGN, TEST, load, own_copy, run
from experiments.common.results import Results
from lightning_flows.bases import ConditionalNormal
from lightning_flows.flows import ComposedFlow, NeuralSplineFlow, SurjectiveSplineFlow
from lightning_flows.modules import FlowModule, SurjectiveModule
from lightning_flows.transforms import VAELayer

__all__ = ["METHODS", "main"]

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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    parser = command_line(__doc__, "few_latents", data=True, seeds=2, steps=500)
    options = begin(parser, arguments)
    results = Results.begin(options, "few_latents", batch=BATCH, rate=RATE, test=TEST, own=OWN)
    with own_copy(options.data) as folder:
        for seed in range(options.seeds):
            own = load(OWN, folder, seed)
            foreign = {other: load(other, folder, seed) for other in FOREIGN[OWN]}
            for name, make in METHODS.items():
                found = run(make, own, foreign, seed=seed, steps=options.steps)
                results.add(options.out, model=name, seed=seed, **found.record)


if __name__ == "__main__":
    main()

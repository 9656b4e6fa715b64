"""Every flow against every proof. A new architecture is one line in `ARCHITECTURES`."""

from functools import partial

import pytest
import torch

from lightning_flows.bases.conditional import ConditionalNormal
from lightning_flows.bases.mixture import NormalMixture
from lightning_flows.bases.uniform import Uniform
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.flows.autoregressive import MAF, AutoregressiveSplineFlow
from lightning_flows.flows.base import Flow
from lightning_flows.flows.coupling import NICE, NeuralSplineFlow, RealNVP
from lightning_flows.flows.free_form import FreeFormFlow
from lightning_flows.flows.glow import Glow
from lightning_flows.flows.injective import PaddedFlow
from lightning_flows.flows.latent_prior import LatentPriorFlow
from lightning_flows.flows.mixed import MixedFlow
from lightning_flows.flows.ranked import RankedFlow
from lightning_flows.flows.truncated import TruncatedFlow
from lightning_flows.nets import (
    ConvDecoder,
    ConvEncoder,
    MLPDecoder,
    MLPEncoder,
    ResidualDecoder,
    ResidualEncoder,
)
from lightning_flows.transforms.bijections.coupling import AffineCoupling
from lightning_flows.transforms.bijections.elementwise import Logit, Sigmoid
from lightning_flows.transforms.chain import Chain
from proofs import density, flow
from proofs.common import Build, make, pairs

H = {"hidden": (16,)}
ARCHITECTURES = {
    "RealNVP": partial(RealNVP, layers=3, **H),
    "NICE": partial(NICE, layers=3, **H),
    "NeuralSplineFlow": partial(NeuralSplineFlow, layers=2, bins=4, bound=3.0, **H),
    "AutoregressiveSplineFlow": partial(AutoregressiveSplineFlow, layers=2, bins=4, **H),
    "MAF": partial(MAF, layers=2, **H),
}
VARIANTS = {
    "(2,)": {"event_shape": (2,)},
    "(5,)": {"event_shape": [5]},
    "(1, 4, 4)": {"event_shape": (1, 4, 4)},
    "(1,)": {"event_shape": 1},
    "(2,), conditional": {"event_shape": (2,), "context_shape": (3,)},
}

glow = partial(Glow, steps=2, **H)
small = partial(RealNVP, layers=2, **H)
padded = partial(PaddedFlow, ambient=small, prior=small)

CASES: dict[str, Build] = {
    f"{name} {variant}": partial(architecture, **arguments)
    for name, architecture in ARCHITECTURES.items()
    for variant, arguments in VARIANTS.items()
} | {
    "RealNVP (residual, permutations)": lambda: RealNVP(
        3, layers=5, hidden=(16, 16), residual=True, mixing="permutation", activation="silu"
    ),
    "RealNVP (actnorm, lu, mixture)": lambda: RealNVP(
        2, layers=3, actnorm=True, mixing="lu", base=partial(NormalMixture, components=2), **H
    ),
    "NICE (keeps the volume)": lambda: NICE(4, layers=4, scaling=False, **H),
    "MAF (three hidden layers)": lambda: MAF(4, layers=2, hidden=(7, 5, 6)),
    "MAF (narrow)": lambda: MAF(6, layers=1, hidden=(3,), context_shape=(1, 2)),
    "Glow (1, 2, 2)": lambda: glow((1, 2, 2), levels=1),
    "Glow (1, 4, 4)": lambda: glow((1, 4, 4)),
    "Glow (3, 4, 8), conditional": lambda: glow((3, 4, 8), context_shape=(2,)),
    "RankedFlow (3,)": lambda: RankedFlow(3, steps=2, **H),
    "RankedFlow (5,), conditional": lambda: RankedFlow(5, levels=3, steps=1, context_shape=2, **H),
    "RankedFlow (1, 4, 4)": lambda: RankedFlow((1, 4, 4), steps=2, **H),
    "LatentPriorFlow (3,)": lambda: LatentPriorFlow(3, latent_features=1, ambient=small),
    "LatentPriorFlow (image, conditional)": lambda: LatentPriorFlow(
        (1, 2, 2), ambient=small, prior=small, context_shape=2
    ),
    "MixedFlow": lambda: MixedFlow(3, classes=[0, 3, 0], flow=small),
    "MixedFlow (binary, conditional)": lambda: MixedFlow(
        3, classes=[2, 3, 0], flow=small, encoding="binary", context_shape=2
    ),
    "Flow (mixture)": lambda: Flow(AffineCoupling(2, **H), NormalMixture(2, components=3)),
    "Flow (uniform)": lambda: Flow(Chain([AffineCoupling(2, **H), Sigmoid(2)]), Uniform(2)),
    "Flow (on the unit interval)": lambda: Flow(Logit(1), RealNVP(1, layers=1)),
    "Flow (conditional base)": lambda: Flow(AffineCoupling(2, **H), ConditionalNormal(2, 3, **H)),
}

INJECTIVE_CASES: dict[str, Build] = {
    "PaddedFlow (curve)": lambda: PaddedFlow(3, latent_features=1, ambient=small, prior=small),
    "PaddedFlow (image)": lambda: PaddedFlow((1, 2, 3), ambient=small, prior=small),
    "PaddedFlow (conditional)": lambda: PaddedFlow(
        4, latent_features=1, ambient=small, prior=small, context_shape=3
    ),
    "PaddedFlow (spline)": lambda: PaddedFlow(
        5, latent_features=2, ambient=partial(NeuralSplineFlow, layers=2, bins=4, **H), prior=small
    ),
    "PaddedFlow (multi-scale)": lambda: PaddedFlow(
        (1, 4, 4), latent_features=3, ambient=glow, prior=small
    ),
    "TruncatedFlow (curve)": lambda: TruncatedFlow(3, flow=padded, latent_features=1),
    "TruncatedFlow (image)": lambda: TruncatedFlow((1, 2, 3), flow=padded, latent_features=2),
    "TruncatedFlow (conditional)": lambda: TruncatedFlow(
        4, flow=padded, latent_features=1, context_shape=3
    ),
}


def free_form(event_shape, d, nets, **options):
    encoder, decoder = nets
    return FreeFormFlow(
        event_shape, latent_features=d, encoder=encoder, decoder=decoder, prior=small, **options
    )


FULLY = partial(MLPEncoder, **H), partial(MLPDecoder, **H)
BLOCKS = tuple(
    partial(net, blocks=1, latent_blocks=1, **H) for net in (ResidualEncoder, ResidualDecoder)
)
CONVOLUTIONS = tuple(
    partial(net, channels=(4, 8), attention=True) for net in (ConvEncoder, ConvDecoder)
)
# what needs a round trip, or the decoder's last bias to have a say in the density on its manifold
NOT_FREE = (density.gradients_reach_every_parameter, density.context_goes_with_its_row)
OF_FREE_FORM = [proof for proof in density.PROOFS if proof.run not in NOT_FREE]
FREE_FORM_CASES: dict[str, Build] = {
    "FreeFormFlow (MLP)": lambda: free_form(3, 1, FULLY),
    "FreeFormFlow (residual)": lambda: free_form((1, 2, 3), 2, BLOCKS),
    "FreeFormFlow (full dimension)": lambda: free_form(3, 3, BLOCKS),
    "FreeFormFlow (convolutions, attention)": lambda: free_form((1, 8, 8), 3, CONVOLUTIONS),
    "FreeFormFlow (conditional)": lambda: free_form(4, 2, FULLY, context_shape=3),
    "TruncatedFlow (free-form)": lambda: TruncatedFlow(
        3, flow=free_form(3, 3, FULLY), latent_features=2
    ),
}


@pytest.mark.parametrize(("prove", "build"), pairs(CASES, [*density.PROOFS, *flow.PROOFS]))
def test_flow(prove, build):
    prove(build)


@pytest.mark.parametrize(
    ("prove", "build"), pairs(INJECTIVE_CASES, [*density.PROOFS, *flow.INJECTIVE])
)
def test_injective_flow(prove, build):
    prove(build)


@pytest.mark.parametrize(
    ("prove", "build"), pairs(FREE_FORM_CASES, [*OF_FREE_FORM, *flow.FREE_FORM])
)
def test_free_form_flow(prove, build):
    prove(build)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RealNVP(2, layers=0), "layers is 0; accepted are positive integers"),
        (lambda: RealNVP(2, mixing="glow"), "mixing is 'glow'; accepted are"),
        (lambda: RealNVP(2, activation="step"), "activation is 'step'; accepted are relu"),
        (lambda: RealNVP(2, bound=0.0), "bound is 0.0; accepted are positive numbers"),
        (lambda: Glow((1, 4, 4), steps=0), "steps is 0; accepted are positive integers"),
        (lambda: PaddedFlow(3, latent_features=3), "latent_features is 3; data has 3 dimensions"),
    ],
)
def test_refuses_senseless_options(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_nice_without_scaling_keeps_the_volume():
    volume_preserving = make(lambda: NICE(4, layers=4, scaling=False, **H))
    assert not volume_preserving.transform.encode(torch.randn(5, 4).double())[1].any()
    assert (
        make(lambda: NICE(4, layers=4, **H)).transform.encode(torch.randn(5, 4).double())[1].all()
    )


def test_a_density_of_images_has_mass_one():
    """Four dimensions are too many for a grid: importance sampling by a wide normal density."""
    flow = make(CASES["Glow (1, 2, 2)"])
    wide = torch.distributions.Normal(torch.zeros(4).double(), 3.0)
    torch.manual_seed(1)
    x = wide.sample((200_000,))
    with torch.no_grad():
        weights = (flow.log_prob(x.reshape(-1, 1, 2, 2)) - wide.log_prob(x).sum(1)).exp()
    error = weights.std() / len(x) ** 0.5
    assert error < 0.03
    assert abs(weights.mean() - 1) < 4 * error


@pytest.mark.parametrize("shape", [(4,), (1, 6, 4)])
def test_glow_says_what_images_it_takes(shape):
    with pytest.raises(ShapeError, match=r"levels=2 takes .* sides that are multiples of 4"):
        Glow(shape)


@pytest.mark.parametrize("d", [3, 8, 10])
def test_the_manifold_takes_what_passes_through_all_levels(d):
    """1 x 4 x 4 pixels: 8 latents leave after the first level, 8 pass through both."""
    flow = PaddedFlow((1, 4, 4), latent_features=d, ambient=glow, prior=small)
    slots = set(flow.slots.tolist())
    assert len(slots) == d
    assert len(slots & set(range(8, 16))) == min(d, 8)

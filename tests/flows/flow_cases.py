"""Flows. A new architecture is one line in `ARCHITECTURES`, or in the cases of its kind."""

from functools import partial

from lightning_flows.bases import ConditionalNormal, NormalMixture, Uniform
from lightning_flows.flows import (
    MAF,
    NICE,
    AssignmentFlow,
    AutoregressiveSplineFlow,
    CircularSplineFlow,
    ComposedFlow,
    ContinuousFlow,
    Flow,
    FreeFormFlow,
    Glow,
    LatentPriorFlow,
    MixedFlow,
    NeuralSplineFlow,
    PaddedFlow,
    RadialBase,
    RankedFlow,
    RealNVP,
    SurjectiveSplineFlow,
    TruncatedFlow,
)
from lightning_flows.nets import (
    ConvDecoder,
    ConvEncoder,
    FieldMLP,
    MLPDecoder,
    MLPEncoder,
    ResidualDecoder,
    ResidualEncoder,
)
from lightning_flows.transforms import (
    AffineCoupling,
    Chain,
    CylinderChart,
    Logit,
    LpRadius,
    Sigmoid,
    SimplexChart,
    Slice,
    StarLike,
)
from proofs.common import Build

H = {"hidden": (16,)}
ARCHITECTURES = {
    "RealNVP": partial(RealNVP, layers=3, **H),
    "NICE": partial(NICE, layers=3, **H),
    "NeuralSplineFlow": partial(NeuralSplineFlow, layers=2, bins=4, bound=3.0, **H),
    "AutoregressiveSplineFlow": partial(AutoregressiveSplineFlow, layers=2, bins=4, **H),
    "MAF": partial(MAF, layers=2, **H),
}
VARIANTS = {
    "(2,)": ((2,), {}),
    "(5,)": ([5], {}),
    "(1, 4, 4)": ((1, 4, 4), {}),
    "(1,)": (1, {}),
    "(2,), conditional": ((2,), {"context_shape": (3,)}),
}

glow = partial(Glow, steps=2, **H)
small = partial(RealNVP, layers=2, **H)
circular = partial(CircularSplineFlow, layers=2, bins=4, **H)
padded = partial(PaddedFlow, ambient=small, prior=small)
field = partial(FieldMLP, hidden=(4,), frequencies=1)
continuous = partial(ContinuousFlow, field=field, steps=8)
assignment = partial(AssignmentFlow, field=field, steps=8, horizon=2.0)

CASES: dict[str, Build] = {
    f"{name} {variant}": partial(architecture, shape, **options)
    for name, architecture in ARCHITECTURES.items()
    for variant, (shape, options) in VARIANTS.items()
} | {
    "RealNVP (residual, permutations)": partial(
        RealNVP,
        3,
        layers=5,
        hidden=(16, 16),
        residual=True,
        mixing="permutation",
        activation="silu",
    ),
    "RealNVP (actnorm, lu, mixture)": partial(
        RealNVP,
        2,
        layers=3,
        actnorm=True,
        mixing="lu",
        base=partial(NormalMixture, components=2),
        **H,
    ),
    "NICE (keeps the volume)": partial(NICE, 4, layers=4, scaling=False, **H),
    "MAF (three hidden layers)": partial(MAF, 4, layers=2, hidden=(7, 5, 6)),
    "MAF (narrow)": partial(MAF, 6, layers=1, hidden=(3,), context_shape=(1, 2)),
    "Glow (1, 2, 2)": partial(glow, (1, 2, 2), levels=1),
    "Glow (1, 4, 4)": partial(glow, (1, 4, 4)),
    "Glow (3, 4, 8), conditional": partial(glow, (3, 4, 8), context_shape=(2,)),
    "RadialBase (2,)": partial(RadialBase, 2, bins=5),
    "RadialBase (image, conditional)": partial(RadialBase, (1, 2, 3), context_shape=2),
    "NICE (keeps the volume, radial base)": partial(
        NICE, 2, layers=2, scaling=False, base=RadialBase, **H
    ),
    "RankedFlow (3,)": partial(RankedFlow, 3, steps=2, **H),
    "RankedFlow (5,), conditional": partial(RankedFlow, 5, levels=3, steps=1, context_shape=2, **H),
    "RankedFlow (1, 4, 4)": partial(RankedFlow, (1, 4, 4), steps=2, **H),
    "LatentPriorFlow (3,)": partial(LatentPriorFlow, 3, latent_features=1, ambient=small),
    "LatentPriorFlow (image, conditional)": partial(
        LatentPriorFlow, (1, 2, 2), ambient=small, prior=small, context_shape=2
    ),
    "MixedFlow": partial(MixedFlow, 3, classes=[0, 3, 0], flow=small),
    "MixedFlow (binary, conditional)": partial(
        MixedFlow, 3, classes=[2, 3, 0], flow=small, encoding="binary", context_shape=2
    ),
    "CircularSplineFlow (2,)": partial(circular, 2),
    "CircularSplineFlow (an angle and a line, coupling, conditional)": partial(
        circular, 2, periodic=[1], coupling=True, context_shape=2
    ),
    "Flow (mixture)": lambda: Flow(AffineCoupling(2, **H), NormalMixture(2, components=3)),
    "Flow (uniform)": lambda: Flow(Chain([AffineCoupling(2, **H), Sigmoid(2)]), Uniform(2)),
    "Flow (on the unit interval)": lambda: Flow(Logit(1), RealNVP(1, layers=1)),
    "Flow (conditional base)": lambda: Flow(AffineCoupling(2, **H), ConditionalNormal(2, 3, **H)),
}

# a grid in the plane takes a minute, as every point of it follows a path
SLOW_CASES: dict[str, Build] = {
    "ContinuousFlow (1,)": partial(continuous, 1, field=partial(field, frequencies=0), steps=4),
    "ContinuousFlow (conditional)": partial(continuous, 1, context_shape=3, base=NormalMixture),
    "AssignmentFlow": partial(assignment, 1, classes=3, steps=4),
    "ContinuousFlow (2,)": partial(continuous, 2),
    "ContinuousFlow (image)": partial(continuous, (1, 2, 2)),
    "AssignmentFlow (columns, conditional)": partial(
        assignment, 2, classes=[2, 3], context_shape=2
    ),
    "AssignmentFlow (image)": partial(assignment, (1, 2, 2), draws=2, steps=6),
    "ContinuousFlow (plane, conditional)": partial(continuous, 2, context_shape=3, base=small),
}

INJECTIVE_CASES: dict[str, Build] = {
    "PaddedFlow (curve)": partial(PaddedFlow, 3, latent_features=1, ambient=small, prior=small),
    "PaddedFlow (image)": partial(PaddedFlow, (1, 2, 3), ambient=small, prior=small),
    "PaddedFlow (conditional)": partial(
        PaddedFlow, 4, latent_features=1, ambient=small, prior=small, context_shape=3
    ),
    "PaddedFlow (spline)": partial(
        PaddedFlow,
        5,
        latent_features=2,
        ambient=partial(NeuralSplineFlow, layers=2, bins=4, **H),
        prior=small,
    ),
    "PaddedFlow (multi-scale)": partial(
        PaddedFlow, (1, 4, 4), latent_features=3, ambient=glow, prior=small
    ),
    "TruncatedFlow (curve)": partial(TruncatedFlow, 3, flow=padded, latent_features=1),
    "TruncatedFlow (image)": partial(TruncatedFlow, (1, 2, 3), flow=padded, latent_features=2),
    "TruncatedFlow (conditional)": partial(
        TruncatedFlow, 4, flow=padded, latent_features=1, context_shape=3
    ),
}

free_form = partial(FreeFormFlow, prior=small)
FULLY = {"encoder": partial(MLPEncoder, **H), "decoder": partial(MLPDecoder, **H)}
BLOCKS = {
    "encoder": partial(ResidualEncoder, blocks=1, latent_blocks=1, **H),
    "decoder": partial(ResidualDecoder, blocks=1, latent_blocks=1, **H),
}
CONVOLUTIONS = {
    "encoder": partial(ConvEncoder, channels=(4, 8), attention=True),
    "decoder": partial(ConvDecoder, channels=(4, 8), attention=True),
}
FREE_FORM_CASES: dict[str, Build] = {
    "FreeFormFlow (MLP)": partial(free_form, 3, latent_features=1, **FULLY),
    "FreeFormFlow (residual)": partial(free_form, (1, 2, 3), latent_features=2, **BLOCKS),
    "FreeFormFlow (full dimension)": partial(free_form, 3, latent_features=3, **BLOCKS),
    "FreeFormFlow (convolutions, attention)": partial(
        free_form, (1, 8, 8), latent_features=3, **CONVOLUTIONS
    ),
    "FreeFormFlow (conditional)": partial(
        free_form, 4, latent_features=2, context_shape=3, **FULLY
    ),
}

splines = partial(
    SurjectiveSplineFlow, bins=4, hidden=(16,), density=partial(ConditionalNormal, hidden=(16,))
)
SURJECTIVE_CASES: dict[str, Build] = {
    "SurjectiveSplineFlow (2,)": partial(splines, 2),
    "SurjectiveSplineFlow (1,)": partial(splines, 1),
    "SurjectiveSplineFlow (3, 2, 2, 1)": partial(splines, 3, widths=(3, 2, 2, 1)),
    "SurjectiveSplineFlow (image)": partial(splines, (1, 3, 3), mixing="permutation"),
    "SurjectiveSplineFlow (conditional)": partial(splines, 3, widths=[1], context_shape=3),
    "SurjectiveSplineFlow (mixture)": partial(
        splines, 3, widths=(2, 2), mixing="none", base=partial(NormalMixture, components=2)
    ),
    "SurjectiveSplineFlow (scored by a flow)": partial(
        splines, 3, widths=(3, 1), density=partial(RealNVP, layers=2, hidden=(8,))
    ),
    "ComposedFlow": partial(ComposedFlow, 3, layers=[small, partial(Slice, keep=2)]),
    "ComposedFlow (sphere)": partial(ComposedFlow, 3, layers=[CylinderChart, circular]),
    "ComposedFlow (simplex)": partial(ComposedFlow, 3, layers=[SimplexChart, small]),
    "ComposedFlow (L_p sphere)": partial(
        ComposedFlow, 3, layers=[partial(StarLike, radius=partial(LpRadius, p=1.5)), circular]
    ),
}

ALL = CASES | INJECTIVE_CASES | FREE_FORM_CASES | SURJECTIVE_CASES | SLOW_CASES
# the first case of each class, as a partial with the shape and the options that it has
FIRST: dict[type[Flow], partial[Flow]] = {
    build.func: build for build in reversed(ALL.values()) if isinstance(build, partial)
}

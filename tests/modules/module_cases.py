"""Modules with the data they are tried with. A new one is one line in `CASES`.

The first of each name, such as "rectangular", is tried by all proofs; those with something in
parentheses after it are tried by the slow ones where `make test-slow` is run.
"""

from functools import partial

from lightning_flows import (
    MAF,
    AnnealedScale,
    AssignmentFlow,
    AssignmentModule,
    ComposedFlow,
    ContinuousFlow,
    DensityModule,
    DiagonalPosterior,
    EnergyModule,
    ExactVolume,
    FlowMatchingModule,
    FreeFormFlow,
    FreeFormModule,
    Glow,
    ImpliedPosterior,
    NeuralSplineFlow,
    OffManifoldModule,
    PaddedFlow,
    RankedFlow,
    RealNVP,
    RectangularModule,
    StochasticVolume,
    SurjectiveModule,
    TwoStepModule,
    VariationalModule,
)
from lightning_flows.callbacks import ContributionRanking
from lightning_flows.datamodules import Digits
from lightning_flows.nets import FieldMLP, MLPDecoder, MLPEncoder
from lightning_flows.objectives import (
    ContourInformation,
    Isometry,
    NoiseLevel,
    NoVolume,
    OffDiagonal,
    PrincipalVolume,
    TargetError,
    Tikhonov,
)
from lightning_flows.transforms import Abs, Augment, InverseOf, Softplus
from proofs.module_case import Bowl, Labels, ModuleCase, Table

TINY = {"layers": 2, "hidden": (8,)}
SMALL = partial(RealNVP, activation="tanh", **TINY)
ACTNORM = partial(SMALL, actnorm=True)
AUGMENTED = partial(ComposedFlow, layers=[partial(Augment, add=1), ACTNORM])
POSITIVE = partial(ComposedFlow, layers=[Abs, partial(InverseOf, layer=Softplus), SMALL])
PADDED = partial(PaddedFlow, latent_features=2, ambient=SMALL, prior=SMALL)
DEPENDENT = partial(PaddedFlow, latent_features=2, ambient=ACTNORM, prior=ACTNORM)
FREE = partial(
    FreeFormFlow,
    latent_features=2,
    encoder=partial(MLPEncoder, hidden=(8,)),
    decoder=partial(MLPDecoder, hidden=(8,)),
    prior=SMALL,
)
GLOW = partial(Glow, levels=1, steps=1, hidden=(4,))
RANKED = partial(RankedFlow, levels=2, steps=1, hidden=(8,))
FIELD = partial(FieldMLP, hidden=(8,))
CONTINUOUS = partial(ContinuousFlow, field=FIELD, steps=2)
ASSIGNED = partial(AssignmentFlow, field=FIELD, steps=2, horizon=2.0)

DENSITY = partial(DensityModule, SMALL)
SURJECTIVE = partial(SurjectiveModule, AUGMENTED, iw_samples=3)
RECTANGULAR = partial(RectangularModule, PADDED, reconstruction=3.0)
FREE_FORM = partial(FreeFormModule, FREE, reconstruction=3.0)
EXACT = partial(FREE_FORM, volume=ExactVolume(chunk_size=1))
DIGITS = partial(Digits, validation=31, test=31)
LEARNED = {"volume": StochasticVolume(2), "reconstruction": TargetError(1.0), "warmup": (0, 2)}
JOINT = {"reconstruction": TargetError(1.0), "warmup": (0, 2)}
ON_JACOBIANS = (OffDiagonal(0.1), ContourInformation(0.1), Tikhonov(0.1, probes=None))

CASES: dict[str, ModuleCase] = {
    "density": ModuleCase(
        partial(DensityModule, ACTNORM, penalties=[Tikhonov(0.1, probes=None)], noise=0.1)
    ),
    "density (plain)": ModuleCase(DENSITY, partial(Table, 2)),
    "density (probes)": ModuleCase(
        partial(DensityModule, partial(ACTNORM, mixing="lu"), penalties=[Tikhonov(0.1)]),
        objective=False,
    ),
    "density (splines)": ModuleCase(partial(DensityModule, partial(NeuralSplineFlow, **TINY))),
    "density (autoregressive)": ModuleCase(partial(DensityModule, partial(MAF, **TINY))),
    "images": ModuleCase(partial(DENSITY, penalties=[Tikhonov(0.01)]), DIGITS, objective=False),
    "images (Glow)": ModuleCase(partial(DensityModule, GLOW), DIGITS, objective=False),
    "density (ranked)": ModuleCase(
        partial(DensityModule, RANKED),
        partial(Table, 16),
        lambda: [ContributionRanking(epochs=1)],
    ),
    "surjective": ModuleCase(SURJECTIVE, partial(Table, 2)),
    "surjective (exact)": ModuleCase(partial(SurjectiveModule, POSITIVE)),
    "surjective (probes)": ModuleCase(
        partial(SURJECTIVE, penalties=[Tikhonov(0.1)]), objective=False
    ),
    "rectangular": ModuleCase(partial(RECTANGULAR, penalties=ON_JACOBIANS)),
    "rectangular (stochastic)": ModuleCase(
        partial(RectangularModule, DEPENDENT, penalties=[Tikhonov(0.01)], noise=0.01, **LEARNED),
        objective=False,
    ),
    "rectangular (iterative)": ModuleCase(
        partial(RECTANGULAR, volume=StochasticVolume(2, direct=1)), objective=False
    ),
    "rectangular (residual)": ModuleCase(partial(RECTANGULAR, reconstruction=NoiseLevel(0.2))),
    "free form": ModuleCase(
        partial(FREE_FORM, penalties=[OffDiagonal(0.1), Isometry(0.1)], **JOINT), objective=False
    ),
    "free form (exact)": ModuleCase(partial(EXACT, penalties=ON_JACOBIANS)),
    "free form (principal)": ModuleCase(partial(EXACT, volume=PrincipalVolume())),
    "free form (no volume)": ModuleCase(partial(EXACT, volume=NoVolume())),
    "off manifold": ModuleCase(partial(OffManifoldModule, PADDED, penalties=[OffDiagonal(0.1)])),
    "off manifold (annealed)": ModuleCase(
        partial(OffManifoldModule, DEPENDENT, scale=AnnealedScale(epochs=2), reconstruction=2.0),
        objective=False,
    ),
    "variational": ModuleCase(partial(VariationalModule, FREE), objective=False),
    "variational (surrogate)": ModuleCase(
        partial(VariationalModule, FREE, scale=0.5, posterior=ImpliedPosterior("surrogate")),
        objective=False,
    ),
    "variational (diagonal)": ModuleCase(
        partial(VariationalModule, FREE, posterior=DiagonalPosterior()), objective=False
    ),
    "energy": ModuleCase(
        partial(EnergyModule, ACTNORM, target=Bowl(), samples=2, eval_samples=3),
        objective=False,
    ),
    "energy (annealed, penalized)": ModuleCase(
        partial(
            EnergyModule,
            SMALL,
            target=Bowl(),
            eval_samples=2,
            temperature=(3.0, 1.0, 10),
            penalties=[Tikhonov(0.1)],
        ),
        objective=False,
    ),
    "flow matching": ModuleCase(
        partial(FlowMatchingModule, CONTINUOUS), partial(Table, 2), objective=False
    ),
    "flow matching (optimal pairs, some rows)": ModuleCase(
        partial(
            FlowMatchingModule,
            partial(ContinuousFlow, field=FIELD, steps=1, probes=2),
            pairing="optimal",
            likelihood_rows=20,
            likelihood_rows_val=7,
            penalties=[Tikhonov(0.01)],
        ),
        objective=False,
        context=False,
    ),
    "assignment": ModuleCase(
        partial(AssignmentModule, partial(ASSIGNED, classes=4)),
        Labels,
        objective=False,
    ),
    "two step": ModuleCase(partial(TwoStepModule, PADDED, manifold_epochs=1), objective=False),
}

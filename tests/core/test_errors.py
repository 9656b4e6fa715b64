"""Numbers and names that options refuse, whichever class they belong to."""

from collections import UserList
from functools import partial
from math import inf, nan

import numpy as np
import pytest
import torch

from lightning_flows import DensityModule, FreeFormFlow, PaddedFlow, RealNVP, RectangularModule
from lightning_flows.bases import ConvNormal, Normal, NormalMixture, Uniform
from lightning_flows.callbacks import DensityPlot, PredictionWriter, SampleGrid
from lightning_flows.components import components
from lightning_flows.core.errors import (
    ConfigError,
    check_finite,
    check_from_zero,
    check_least,
    check_name,
    check_positive,
)
from lightning_flows.datamodules import Arrays, Digits, Toy
from lightning_flows.flows import MAF, Glow, NeuralSplineFlow
from lightning_flows.metrics import MaximumMeanDiscrepancy, SlicedWasserstein
from lightning_flows.modules import TwoStepModule
from lightning_flows.nets import MLP, ConvDecoder, ConvEncoder, ConvNet, MaskedMLP, ResidualMLP
from lightning_flows.nets.autoencoder import MLPDecoder, MLPEncoder, ResidualEncoder
from lightning_flows.objectives import (
    FreeFormVolume,
    Isometry,
    NoiseLevel,
    OffDiagonal,
    StochasticVolume,
    TargetError,
    Tikhonov,
)
from lightning_flows.transforms import Augment, Dequantize, LeakyReLU, Logit, Standardize, Tiles

FLOW = partial(RealNVP, layers=1, hidden=(4,))
PADDED = partial(PaddedFlow, latent_features=1, ambient=FLOW, prior=FLOW)
RECTANGULAR = partial(RectangularModule, PADDED, 2)
X = {"train": torch.zeros(4, 2)}

REAL = {
    "Normal.loc": lambda v: Normal(2, loc=v),
    "Normal.scale": lambda v: Normal(2, scale=v),
    "NormalMixture.spread": lambda v: NormalMixture(2, spread=v),
    "Uniform.low": lambda v: Uniform(2, low=v),
    "Uniform.high": lambda v: Uniform(2, high=v),
    "ConvNormal.bound": lambda v: ConvNormal((1, 4, 4), (1, 4, 4), bound=v),
    "RealNVP.bound": lambda v: RealNVP(2, layers=1, bound=v),
    "MAF.bound": lambda v: MAF(2, layers=1, bound=v),
    "NeuralSplineFlow.bound": lambda v: NeuralSplineFlow(2, layers=1, bound=v),
    "Glow.bound": lambda v: Glow((1, 4, 4), bound=v),
    "LeakyReLU.slope": lambda v: LeakyReLU(2, slope=v),
    "Logit.alpha": lambda v: Logit(2, alpha=v),
    "Standardize.minimum_scale": lambda v: Standardize(2, minimum_scale=v),
    "Tiles.noise": lambda v: Tiles((1, 4, 4), (3, 3), (1, 1), noise=v),
    "Tikhonov.weight": Tikhonov,
    "OffDiagonal.weight": OffDiagonal,
    "Isometry.weight": Isometry,
    "StochasticVolume.tolerance": lambda v: StochasticVolume(tolerance=v),
    "components.tikhonov": lambda v: components(None, None, torch.zeros(1, 2), tikhonov=v),
    "DensityModule.noise": lambda v: DensityModule(FLOW, 2, noise=v),
    "RectangularModule.beta": lambda v: RECTANGULAR(reconstruction=v),
    "NoiseLevel.sigma": NoiseLevel,
    "TargetError.target": TargetError,
    "RectangularModule.noise": lambda v: RECTANGULAR(noise=v),
    "TwoStepModule.beta": lambda v: TwoStepModule(PADDED, 2, reconstruction=v),
    "SampleGrid.temperature": lambda v: SampleGrid(temperature=v),
    "DensityPlot.margin": lambda v: DensityPlot(margin=v),
    "Toy.noise": lambda v: Toy("moons", noise=v),
    "Arrays.validation": lambda v: Arrays(data=X, validation=v),
    "Arrays.test": lambda v: Arrays(data=X, test=v),
    "MaximumMeanDiscrepancy.bandwidth": lambda v: MaximumMeanDiscrepancy(bandwidth=v),
    "SlicedWasserstein.p": lambda v: SlicedWasserstein(p=v),
}


@pytest.mark.parametrize("value", [inf, -inf, nan])
@pytest.mark.parametrize("name", REAL)
def test_no_option_takes_infinity_or_nan(name, value):
    with pytest.raises(ConfigError, match=rf"{name.partition('.')[2]}\b.* {value}\b.*; "):
        REAL[name](value)


WHOLE = {
    "RealNVP.layers": lambda v: RealNVP(2, layers=v),
    "MLP.hidden": lambda v: MLP(2, 2, hidden=[4, v]),
    "MLP.hidden without inputs": lambda v: MLP(0, 2, hidden=[v]),
    "ResidualMLP.hidden": lambda v: ResidualMLP(2, 2, hidden=[v, v]),
    "MaskedMLP.hidden": lambda v: MaskedMLP(2, 2, hidden=[v]),
    "ConvNet.hidden": lambda v: ConvNet(2, 2, hidden=[v]),
    "ConvEncoder.channels": lambda v: ConvEncoder((1, 4, 4), 2, channels=[v]),
    "ConvDecoder.channels": lambda v: ConvDecoder((1, 4, 4), 2, channels=[v]),
    "MLPEncoder.hidden": lambda v: MLPEncoder((2,), 1, hidden=[v]),
    "MLPDecoder.hidden": lambda v: MLPDecoder((2,), 1, hidden=[v]),
    "NormalMixture.components": lambda v: NormalMixture(2, components=v),
    "Augment.add": lambda v: Augment(2, v),
    "Dequantize.levels": lambda v: Dequantize(2, v),
    "StochasticVolume.probes": lambda v: StochasticVolume(v),
    "StochasticVolume.chunk_size": lambda v: StochasticVolume(chunk_size=v),
    "FreeFormVolume.probes": lambda v: FreeFormVolume(probes=v),
    "SampleGrid.points": lambda v: SampleGrid(n=v),
    "Toy.n_train": lambda v: Toy("moons", n_train=v),
    "Toy.batch_size": lambda v: Toy("moons", batch_size=v),
}


@pytest.mark.parametrize("value", [0, -4, 10**20, 2.0])
@pytest.mark.parametrize("name", WHOLE)
def test_numbers_of_things_are_positive_and_have_64_bits(name, value):
    option = name.partition(".")[2].split()[0]
    with pytest.raises(ConfigError, match=rf"^{option} is .*{value}.*; accepted are "):
        WHOLE[name](value)


FROM_ZERO = {
    "Toy.seed": lambda v: Toy("moons", seed=v),
    "Toy.n_val": lambda v: Toy("moons", n_val=v),
    "Digits.seed": lambda v: Digits(seed=v),
    "SampleGrid.seed": lambda v: SampleGrid(seed=v),
    "SampleGrid.every_n_epochs": lambda v: SampleGrid(every_n_epochs=v),
    "ResidualEncoder.blocks": lambda v: ResidualEncoder((2,), 1, blocks=v),
    "ResidualEncoder.latent_blocks": lambda v: ResidualEncoder((2,), 1, latent_blocks=v),
}


@pytest.mark.parametrize("value", [-1, 10**20, -(10**20), 0.5])
@pytest.mark.parametrize("name", FROM_ZERO)
def test_seeds_and_counts_begin_at_zero(name, value):
    with pytest.raises(ConfigError, match=rf"^{name.partition('.')[2]} is {value}; accepted are "):
        FROM_ZERO[name](value)
    FROM_ZERO[name](0)


def test_what_the_checks_let_through():
    check_least(1, a=1, b=None, c=[1, 2], d=(), e=np.array([3, 4]), f=2**63 - 1)
    check_least(1, a=np.int64(3), b=UserList([1]))
    check_least(0, a=0)
    check_positive(a=1e-300, b=None, c=np.float32(2))
    check_from_zero(a=0, b=None, c=1e300)
    check_finite(a=-1e300, b=0)
    check_name(a="samples", b="0-a_b.c", c="predictions.npz")
    for wrong in (True, [None], ["1"], "1", 2**63, iter([1]), np.array([0.5])):
        with pytest.raises(ConfigError, match=r"^a is "):
            check_least(1, a=wrong)
    with pytest.raises(ConfigError, match=r"^b is 0; accepted are integers from 2 up\.$"):
        check_least(2, a=2, b=0)
    with pytest.raises(ConfigError, match=r"^b is 0; accepted are positive numbers\.$"):
        check_positive(a=1, b=0)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../up", "/tmp/x", "a/b", "a\\b", ".hidden", "a b", "a\n", "ä"]
)
def test_names_of_files_are_one_part_of_a_path(name):
    for make in (lambda n: SampleGrid(name=n), lambda n: PredictionWriter(filename=n)):
        with pytest.raises(ConfigError, match=r"name is .*; accepted are letters, digits"):
            make(name)


def test_networks_may_have_no_hidden_layer():
    assert MLP(2, 3, hidden=[])(torch.zeros(1, 2)).shape == (1, 3)
    flow = FreeFormFlow(2, latent_features=1, encoder=partial(MLPEncoder, hidden=()))
    assert flow.encode(torch.zeros(1, 2)).shape == (1, 1)
    with pytest.raises(ConfigError, match="channels is empty"):
        ConvEncoder((1, 4, 4), 2, channels=[])

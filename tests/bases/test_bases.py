"""Every base density against every proof. A new base is one line here."""

import math

import pytest
import torch

from lightning_flows.bases.by_columns import ByColumns
from lightning_flows.bases.categorical import Bernoulli, Categorical
from lightning_flows.bases.circular import UniformTorus, VonMises
from lightning_flows.bases.conditional import ConditionalNormal, ConvNormal
from lightning_flows.bases.cone import ConeMeasure
from lightning_flows.bases.mixture import NormalMixture
from lightning_flows.bases.normal import Normal
from lightning_flows.bases.positive import HalfNormal, ZeroInflated
from lightning_flows.bases.uniform import Uniform
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.flows.base import Flow
from lightning_flows.transforms.bijections.coupling import AffineCoupling
from lightning_flows.transforms.bijections.elementwise import Sigmoid
from proofs.common import Build, pairs
from proofs.density import PROOFS

CASES: dict[str, Build] = {
    "Normal (2,)": lambda: Normal(2),
    "Normal (image)": lambda: Normal((2, 2, 1), loc=1.0, scale=2.0),
    "Normal (learned)": lambda: Normal(2, loc=-1.0, scale=0.5, learned=True),
    "NormalMixture (1,)": lambda: NormalMixture(1, components=3),
    "NormalMixture (2,)": lambda: NormalMixture(2),
    "NormalMixture (image)": lambda: NormalMixture((1, 2, 2), components=2),
    "Uniform (2,)": lambda: Uniform(2),
    "Uniform (interval)": lambda: Uniform((1, 3), low=-1.0, high=4.0),
    "ConditionalNormal (1,)": lambda: ConditionalNormal(1, 3, hidden=(16,)),
    "ConditionalNormal (no context)": lambda: ConditionalNormal(2),
    "ConvNormal": lambda: ConvNormal((1, 2, 1), (2, 2, 1), hidden=(8,)),
    "ConvNormal (linear)": lambda: ConvNormal((2, 2, 3), (1, 2, 3), hidden=()),
    "ConditionalNormal (image)": lambda: ConditionalNormal((1, 2, 2), (2, 2), hidden=(16,)),
    "HalfNormal (2,)": lambda: HalfNormal(2),
    "HalfNormal (conditional)": lambda: HalfNormal((1, 2), 3, hidden=(16,)),
    "ZeroInflated (2,)": lambda: ZeroInflated(2),
    "ZeroInflated (conditional)": lambda: ZeroInflated(1, (1, 3), hidden=(16,)),
    "Categorical (2,)": lambda: Categorical(2, classes=3),
    "Categorical (conditional)": lambda: Categorical((1, 2), 3, classes=4, hidden=(16,)),
    "Bernoulli (conditional)": lambda: Bernoulli(3, 2, hidden=(16,)),
    "UniformTorus (2,)": lambda: UniformTorus(2),
    "VonMises (2,)": lambda: VonMises(2),
    "VonMises (conditional)": lambda: VonMises(1, 3, hidden=(16,)),
    "ByColumns (3,)": lambda: ByColumns(3, [VonMises(1), Normal(1, learned=True), Uniform(1)]),
    "ByColumns (images)": lambda: ByColumns((3, 2), [Normal((2, 2)), Uniform((1, 2))]),
    "ConeMeasure (3,)": lambda: ConeMeasure(3, p=1.0, level=2.0),
    "ConeMeasure (cusps, positive)": lambda: ConeMeasure(4, p=0.7, positive=True),
    "Flow (as a base)": lambda: Flow(
        AffineCoupling(2, hidden=(16,)), Flow(AffineCoupling(2, hidden=(16,), swap=True))
    ),
    "Flow (on the unit interval)": lambda: Flow(Sigmoid(1), Uniform(1)),
}


@pytest.mark.parametrize(("prove", "build"), pairs(CASES, PROOFS))
def test_base(prove, build):
    prove(build)


def test_uniform_is_zero_outside_of_its_closed_box():
    x = torch.tensor([[-1.0, 4.0], [0.0, 0.0], [-1.1, 0.0], [0.0, 4.1]])
    log_p = Uniform(2, low=-1.0, high=4.0).log_prob(x)
    expected = -2 * math.log(5.0)
    assert log_p.tolist() == pytest.approx([expected, expected, -math.inf, -math.inf])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Normal(2, scale=0.0), "scale is 0.0; accepted are positive numbers"),
        (lambda: NormalMixture(2, components=0), "components is 0; accepted are positive"),
        (lambda: ConditionalNormal(2, 1, bound=0.0), "bound is 0.0; accepted are positive"),
        (lambda: Uniform(2, low=1.0, high=1.0), "low is 1.0 and high is 1.0; low must be smaller"),
    ],
)
def test_refuses_senseless_options(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


@pytest.mark.parametrize("context_shape", [None, 3, (1, 3, 2)])
def test_images_are_scored_given_images_of_their_size(context_shape):
    with pytest.raises(ShapeError, match="images given images of the same height and width"):
        ConvNormal((1, 2, 2), context_shape)

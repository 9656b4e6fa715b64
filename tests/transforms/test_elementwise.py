"""Where open intervals end: their maps round to the end, and data may lie there."""

import pytest
import torch

from lightning_flows.bases import HalfNormal, Normal, Uniform
from lightning_flows.core.errors import ConfigError
from lightning_flows.flows import Flow
from lightning_flows.transforms import ElementwiseAffine, Inverse, Logit, Sigmoid, Softplus, Tanh

DTYPES = [torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("layer", "low", "high"), [(Sigmoid, 0, 1), (Tanh, -1, 1), (Softplus, 0, torch.inf)]
)
def test_what_is_encoded_lies_strictly_inside(layer, low, high, dtype):
    x = torch.tensor([[-1e4], [-800.0], [-40.0], [40.0], [800.0], [1e4]], dtype=dtype)
    z, contribution = layer(1).encode(x)
    assert (z > low).all()
    assert (z < high).all()
    back, decoded = layer(1).decode(z)
    assert torch.stack([back[:, 0], contribution, decoded]).isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("build", "ends", "beyond"),
    [
        (lambda: Flow(Logit(1)), [0.0, 1.0], [-1e-3, 1.001]),
        (lambda: Flow(Logit(1, alpha=0.05)), [0.0, 1.0, -0.05 / 0.9], [-0.06, 1.06]),
        (lambda: Flow(Inverse(Sigmoid(1))), [0.0, 1.0], [-1e-3, 1.001]),
        (lambda: Flow(Inverse(Tanh(1))), [-1.0, 1.0], [-1.001, 1.001]),
        (lambda: Flow(Inverse(Softplus(1))), [0.0], [-1e-6]),
        (lambda: Flow(Sigmoid(1), Uniform(1)), [], []),
    ],
)
def test_ends_count_as_the_nearest_number_inside(build, ends, beyond, dtype):
    flow = build().to(dtype)
    x = torch.tensor(ends + beyond, dtype=dtype)[:, None].requires_grad_()
    log_p = flow.log_prob(x)
    assert log_p[: len(ends)].isfinite().all()
    assert (log_p[len(ends) :] == -torch.inf).all()
    if ends:
        (gradient,) = torch.autograd.grad(log_p[: len(ends)].sum(), x)
        assert gradient.isfinite().all()
    inner = flow.transform.encode(x.detach()[len(ends) :])
    assert inner[0].isnan().all()


def test_a_latent_at_an_end_decodes_to_a_number():
    """A uniform base draws exact zeros, a half-normal one may."""
    for layer, z in ((Sigmoid, [0.0, 1.0]), (Tanh, [-1.0, 1.0]), (Softplus, [0.0])):
        x, contribution = layer(1).decode(torch.tensor(z)[:, None])
        assert x.isfinite().all()
        assert contribution.isfinite().all()


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 2.0])
def test_samples_of_any_temperature_are_numbers(temperature):
    torch.manual_seed(0)
    for transform, base in ((Sigmoid(2), Uniform(2)), (Softplus(2), HalfNormal(2))):
        flow = Flow(transform, base)
        assert flow.sample(200, temperature=temperature).isfinite().all()
    assert Flow(Logit(2), Normal(2, scale=30)).sample(200, temperature=temperature).isfinite().all()


def test_a_conditional_affine_map_has_bounded_scales():
    layer = ElementwiseAffine(2, context_shape=1)
    with torch.no_grad():
        layer.net.layers[-1].bias.fill_(1e4)
    z, contribution = layer.encode(torch.randn(3, 2), torch.zeros(3, 1))
    assert z.isfinite().all()
    torch.testing.assert_close(contribution, torch.full((3,), 40.0))
    with pytest.raises(ConfigError, match=r"bound is 0\.0; accepted are positive numbers"):
        ElementwiseAffine(2, bound=0.0)
    with pytest.raises(ConfigError, match=r"bound is -1\.0; accepted are positive numbers"):
        HalfNormal(2, bound=-1.0)

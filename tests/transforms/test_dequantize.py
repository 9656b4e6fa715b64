import math

import pytest
import torch
from torch.func import jacrev, jvp, vmap

from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.core.recipe import build_part, to_recipe
from lightning_flows.transforms.bijections.standardize import Standardize
from lightning_flows.transforms.chain import Chain
from lightning_flows.transforms.surjections.dequantize import Dequantize


def integers(*shape, levels=17, dtype=torch.uint8):
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, levels, shape, generator=generator).to(dtype)


def test_round_trip_is_exact_and_noise_is_uniform():
    transform, x = Dequantize((1, 8, 8), 17), integers(2000, 1, 8, 8)
    for mode in (True, False):
        transform.train(mode)
        z, contribution = transform.encode(x)
        again, other = transform.decode(z)
        assert torch.equal(again, x.float())
        assert torch.equal(contribution, other)
        assert contribution.shape == (2000,)
        u = z * 17 - x
        counts = torch.histc(u, 16, 0, 1) / u.numel()
        assert (counts - 1 / 16).abs().max() < 0.003
        assert torch.corrcoef(u.flatten(1).T).fill_diagonal_(0).abs().max() < 0.12
        assert torch.corrcoef(torch.stack([u.flatten(), x.flatten()]))[0, 1].abs() < 0.01


def test_evaluation_noise_belongs_to_the_event_and_spares_the_random_state():
    transform, x = Dequantize((3,), 256).eval(), integers(10, 3, levels=256)
    before = torch.get_rng_state()
    whole, _ = transform.encode(x)
    parts = torch.cat([transform.encode(part)[0] for part in x.split(3)])
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(whole, parts)
    assert torch.equal(vmap(lambda e: transform.encode(e[None])[0][0])(x), whole)
    transform.train()
    assert not torch.equal(transform.encode(x)[0], transform.encode(x)[0])
    assert not torch.equal(before, torch.get_rng_state())


def test_contribution_is_the_jacobian_of_the_map_before_rounding():
    transform, x = Dequantize((3,), 5).eval(), integers(4, 3, levels=5, dtype=torch.float64)
    z, contribution = transform.encode(x)
    for event, value, expected in zip(x, z, contribution, strict=True):
        jacobian = jacrev(lambda e: transform.encode(e[None])[0][0])(event)
        assert math.isclose(torch.linalg.slogdet(jacobian)[1], expected, rel_tol=1e-12)
        inverse = jacrev(lambda e: transform.decode(e[None])[0][0])(value)
        assert torch.allclose(inverse, 5 * torch.eye(3, dtype=torch.float64))
    tangent = torch.rand_like(z)
    x_again, pushed = jvp(lambda v: transform.decode(v)[0], (z,), (tangent,))
    assert torch.equal(x_again, x)
    assert torch.allclose(pushed, 5 * tangent)


def test_decode_stays_among_the_levels():
    z = torch.tensor([[-0.1], [0.0], [0.999], [1.0], [1.2]])
    assert Dequantize(1, 4).decode(z)[0].flatten().tolist() == [0, 0, 3, 3, 3]


def test_a_uniform_model_scores_every_integer_alike():
    # 4 levels in 2 dimensions: 16 states, each of probability 1/16
    _, contribution = Dequantize(2, 4)(integers(5, 2, levels=4))
    assert torch.allclose(contribution.exp().double(), torch.tensor(1 / 16).double())


def test_compiles_without_graph_breaks():
    transform, x = Dequantize((4,), 8).eval(), integers(6, 4, levels=8)
    compiled = torch.compile(transform, fullgraph=True, backend="eager")
    assert torch.equal(compiled(x)[0], transform(x)[0])


def test_refusals():
    with pytest.raises(ConfigError, match="levels is 1; accepted are integers from 2 up"):
        Dequantize(2, 1)
    with pytest.raises(ShapeError, match=r"expected is \(batch, 2\)"):
        Dequantize(2, 4).encode(torch.zeros(3, 5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_levels_any_integers_get_noise_and_keep_their_size(dtype):
    transform = Dequantize(2, None)
    x = torch.tensor([[-70_000, 3], [0, -1], [5, 4_000_000]], dtype=dtype).repeat(200, 1)
    for transform.training in (True, False):
        z, contribution = transform.encode(x)
        assert ((z > x) & (z < x + 1)).all()
        assert torch.equal(contribution, torch.zeros(600, dtype=dtype))
        again, other = transform.decode(z)
        assert torch.equal(again, x)
        assert torch.equal(other, contribution)
    assert transform.decode(torch.tensor([[-2.5, 1e6 + 0.5]]))[0].tolist() == [[-3, 1e6]]
    copy = build_part(to_recipe(Chain([transform, Standardize(2)])))
    assert torch.equal(copy.transforms[0].eval().encode(x)[0], transform.eval().encode(x)[0])

import math
from typing import get_args

import pytest
import torch

from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.datamodules import Toy
from lightning_flows.datamodules.toy import ToyName

NAMES = get_args(ToyName)


def points(name, n=20_000, **options):
    data = Toy(name, n_train=n, n_val=10, n_test=10, **options)
    data.setup("fit")
    return data, data.train_dataloader().dataset.tensors["x"]


@pytest.mark.parametrize("name", NAMES)
def test_points_are_centered_reproducible_and_spare_the_random_state(name):
    before = torch.get_rng_state()
    data, x = points(name)
    assert torch.equal(before, torch.get_rng_state())
    assert tuple(x.shape[1:]) == data.event_shape
    assert x.dtype == torch.float32
    assert x.abs().max() < (6 if name == "noisy_sine" else 4)  # a normal has no end
    centers = {
        "von_mises_circle": [0.698, 0.0],
        "von_mises_fisher": [0.9 / 3**0.5] * 3,
        "dirichlet": [0.6 / 6.1, 1.5 / 6.1, 4 / 6.1],
        "wrapped_normal": [0.0, 0.0],  # of angles around π the mean depends on noise
    }
    center = torch.tensor(centers.get(name, [0.0]))
    if name != "swiss_roll":
        assert (x.mean(0) - center).abs().max() < 0.05
    assert torch.equal(points(name)[1], x)
    assert not torch.equal(points(name, seed=1)[1], x)
    assert (points(name, noise=0.5)[1] - x).abs().max() > 0.5


def test_held_out_points_do_not_change_with_the_number_of_training_points():
    few, many = (points("moons", n)[0].test_dataloader().dataset.tensors["x"] for n in (10, 1000))
    assert torch.equal(few, many)


def test_no_two_splits_of_any_seeds_share_their_points():
    seen = set()
    for seed in range(7):
        data = Toy("checkerboard", n_train=20, n_val=20, n_test=20, seed=seed)
        data.setup()
        for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
            seen.update(map(tuple, loader.dataset.tensors["x"].tolist()))
    assert len(seen) == 7 * 60


def test_moons_are_two_half_circles_that_reach_into_each_other():
    _, x = points("moons", noise=0.0)
    upper = x[:, 1] > -0.25 - 1e-6
    first = upper & ((x - torch.tensor([-0.5, -0.25])).norm(dim=1) - 1 < 1e-5)
    first &= (x - torch.tensor([-0.5, -0.25])).norm(dim=1) > 1 - 1e-5
    second = ((x - torch.tensor([0.5, 0.25])).norm(dim=1) - 1).abs() < 1e-5
    second &= x[:, 1] < 0.25 + 1e-6
    assert (first | second).all()
    assert abs(first.float().mean() - 0.5) < 0.02
    # angles are uniform on each half
    angle = torch.atan2(x[first, 1] + 0.25, x[first, 0] + 0.5)
    assert (angle.sort().values / math.pi - torch.linspace(0, 1, len(angle))).abs().max() < 0.02


def test_a_spiral_has_two_arms_of_one_and_a_half_turns():
    _, x = points("spiral", noise=0.0)
    radius = x.norm(dim=1)
    turned = radius * math.pi
    arm = torch.stack([-turned.cos(), turned.sin()], 1) * radius[:, None]
    side = (x * arm).sum(1).sign()
    torch.testing.assert_close(x, side[:, None] * arm, rtol=0, atol=1e-4)
    assert abs(side.mean()) < 0.03
    share = (radius / 3).square()  # area of the disc of radius 3
    assert (share.sort().values - torch.linspace(0, 1, len(x))).abs().max() < 0.02


@pytest.mark.parametrize(
    ("name", "noise"),
    [
        ("checkerboard", None),
        ("checkerboard", 0.1),
        ("corner_checkerboard", None),
        ("rings", None),
        ("signed_rings", None),
    ],
)
def test_densities_in_the_plane_integrate_to_one_and_belong_to_the_samples(name, noise):
    data, x = points(name, 50_000, noise=noise)
    step = 0.005
    axis = torch.arange(-3, 3, step, dtype=torch.float64) + step / 2
    grid = torch.cartesian_prod(axis, axis)
    log_prob = torch.cat([data.true_log_prob(part) for part in grid.split(100_000)])
    prob = log_prob.exp()
    assert abs(prob.sum() * step**2 - 1) < 1e-4
    negative_entropy = torch.where(prob > 0, prob * log_prob, 0).sum() * step**2
    assert abs(data.true_log_prob(x).mean() - negative_entropy) < 0.015
    # and cell by cell
    counts = torch.histogramdd(x.double(), [24, 24], range=[-3, 3, -3, 3]).hist / len(x)
    cells = (prob * step**2).reshape(24, 50, 24, 50).sum((1, 3))
    assert (counts - cells).abs().max() < 0.002


@pytest.mark.parametrize("name", ["corner_checkerboard", "signed_rings"])
def test_signs_do_not_matter(name):
    data, x = points(name, 100)
    for signs in ([-1, 1], [1, -1], [-1, -1]):
        mirrored = data.true_log_prob(x * torch.tensor(signs))
        torch.testing.assert_close(mirrored, data.true_log_prob(x), rtol=1e-4, atol=1e-4)
    assert data.true_log_prob(x).isfinite().all()


def test_sets_do_not_know_their_order_and_have_the_density_of_their_samples():
    data, x = points("sets", 50_000)
    torch.testing.assert_close(data.true_log_prob(x.flip(1)), data.true_log_prob(x))
    scores = data.true_log_prob(x)
    assert (x.mean(0).abs() < 4 * x.std(0) / 50_000**0.5).all()
    # what importance sampling finds, where each number is drawn by itself
    generator = torch.Generator().manual_seed(0)
    places = torch.tensor([-1.8, -0.6, 0.6, 1.8])
    z = places[torch.randint(4, (200_000, 4), generator=generator)]
    z = z + 0.35 * torch.randn(z.shape, generator=generator)
    each = torch.distributions.Normal(places, 0.35).log_prob(z[..., None]).logsumexp(2)
    weights = (data.true_log_prob(z) - (each - math.log(4)).sum(1)).exp()
    parts = weights * data.true_log_prob(z)
    errors = [part.std() / len(part) ** 0.5 for part in (weights, parts, scores)]
    assert abs(weights.mean() - 1) < 4 * errors[0]
    assert abs(scores.mean() - parts.mean()) < 4 * torch.hypot(errors[1], errors[2])
    assert max(errors) < 0.05
    with pytest.raises(ConfigError, match="sets with noise 0"):
        Toy("sets", noise=0.0).true_log_prob(torch.ones(1, 4))


def test_checkerboard_is_uniform_on_half_of_the_square():
    data, x = points("checkerboard")
    assert torch.allclose(data.true_log_prob(x), torch.tensor(-math.log(8)))
    beside = torch.tensor([[0.5, -0.5], [2.5, 0.5], [-0.5, 0.5]])
    assert data.true_log_prob(beside).tolist() == [-math.inf] * 3


def quadrature(name, n=400):
    """Points of a manifold and the length or area that each stands for."""
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    one, two = torch.cartesian_prod(u, u).T
    if name == "von_mises_circle":
        t = 2 * math.pi * u
        return torch.stack([t.cos(), t.sin()], 1), torch.full((n,), 2 * math.pi / n)
    if name == "noisy_sine":
        t = 16 * (u - 0.5)
        speed = (1 + (1.7 * (1.7 * t).cos()) ** 2).sqrt()
        return torch.stack([t, (1.7 * t).sin()], 1), 16 / n * speed
    if name == "sphere":
        t, height = 2 * math.pi * one, 2 * two - 1
        r = (1 - height**2).sqrt()
        place = [r * t.cos(), r * t.sin(), height]
        area = torch.full_like(t, 4 * math.pi)
    elif name == "torus":
        t, s = 2 * math.pi * one, 2 * math.pi * two
        r = 1.5 + 0.6 * s.cos()
        place, area = [r * t.cos(), r * t.sin(), 0.6 * s.sin()], 4 * math.pi**2 * 0.6 * r
    elif name == "swiss_roll":
        t = math.pi * (1.5 + 3 * one)
        place = [t / 5 * t.cos(), 4 * two - 2, t / 5 * t.sin()]
        area = 3 * math.pi * 4 * (1 + t**2).sqrt() / 5
    else:
        t = 3 * math.pi * (one - 0.5)
        place = [t.sin(), 2 * two - 1, t.sign() * (t.cos() - 1)]
        area = torch.full_like(t, 6 * math.pi)
    return torch.stack(place, 1), area / n**2


CURVES = ("von_mises_circle", "noisy_sine")


@pytest.mark.parametrize("name", [*CURVES, "sphere", "torus", "swiss_roll", "s_curve"])
def test_densities_on_manifolds_integrate_to_one_and_belong_to_the_samples(name):
    data, x = points(name, 50_000, noise=0.0)
    grid, volume = quadrature(name)
    log_prob = data.true_log_prob(grid)
    prob = log_prob.exp() * volume
    assert abs(prob.sum() - 1) < 1e-4
    assert abs(data.true_log_prob(x).mean() - (prob * log_prob).sum()) < 0.015
    mean, square = (prob[:, None] * grid).sum(0), (prob[:, None] * grid**2).sum(0)
    assert (x.mean(0) - mean).abs().max() < 0.02
    assert (x.square().mean(0) - square).abs().max() < 0.05
    assert data.manifold_dimension == (1 if name in CURVES else 2)


def test_outside_the_edges_of_a_surface_there_is_nothing():
    roll = torch.tensor([[0.1, 0, 0], [1, 2.1, 1.0]])
    curve = torch.tensor([[0, 1.5, 0], [0.7, 0, 0.3]])
    assert Toy("swiss_roll").true_log_prob(roll).tolist() == [-math.inf] * 2
    assert Toy("s_curve").true_log_prob(curve).tolist() == [-math.inf] * 2


def test_standardized_moons_keep_their_units_in_the_likelihood():
    data, x = points("moons", standardize=True)
    z, contribution = data.preprocess.encode(x)
    assert torch.allclose(z.std(0), torch.ones(2), atol=1e-4)
    assert torch.allclose(contribution, -x.std(0).log().sum())
    assert points("moons")[0].preprocess is None


def test_refusals():
    with pytest.raises(ConfigError, match="Toy has no 'moon'; accepted are moons, checkerboard"):
        Toy("moon")
    with pytest.raises(ConfigError, match="noise is -1"):
        Toy("moons", noise=-1)
    with pytest.raises(ConfigError, match="n_train is 0; accepted are positive"):
        Toy("moons", n_train=0)
    with pytest.raises(ConfigError, match="moons has no density in closed form"):
        Toy("moons").true_log_prob(torch.zeros(1, 2))
    with pytest.raises(ConfigError, match="rings with noise 0 are circles"):
        Toy("rings", noise=0.0).true_log_prob(torch.ones(1, 2))
    with pytest.raises(ShapeError, match=r"expected is \(batch, 3\)"):
        Toy("sphere").true_log_prob(torch.zeros(1, 2))
    with pytest.raises(ConfigError, match=r"Call Toy\.setup"):
        Toy("moons").train_dataloader()

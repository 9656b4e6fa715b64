"""Free-form volumes against the exact one where encoder and decoder are consistent."""

import pytest
import torch
from torch import nn
from torch.func import jacrev, vmap

from lightning_flows import RealNVP
from lightning_flows.core.errors import ConfigError
from lightning_flows.nets import MLPDecoder, MLPEncoder
from lightning_flows.objectives import ExactVolume, FreeFormVolume, free_form
from proofs.embedding import check_average

TARGETS = ("encoder", "decoder", "probe")
PLACES = ("x", "x_hat", "x_hat_detached")
each_target = pytest.mark.parametrize("target", TARGETS)
each_place = pytest.mark.parametrize("at", PLACES)


class Bijection(nn.Module):
    """A curved bijection of three dimensions: encoder and exact inverse share parameters."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.flow = RealNVP(3, layers=3, hidden=(6,), activation="tanh").double().transform
        with torch.no_grad():
            for parameter in self.parameters():
                parameter += 0.3 * torch.randn_like(parameter)

    def encode(self, x):
        return self.flow.encode(x)[0]

    def decode(self, z):
        return self.flow.decode(z)[0]


class Linear(nn.Module):
    """g(u) = A u and its pseudo-inverse f, of four dimensions and two; both from the same A."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.a = nn.Parameter(torch.randn(4, 2, dtype=torch.float64))

    def encode(self, x):
        return x @ torch.linalg.pinv(self.a).T

    def decode(self, u):
        return u @ self.a.T


class Apart(nn.Module):
    """An encoder and a decoder that undo each other only about."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.encode = MLPEncoder((4,), 2, hidden=(6,)).double()
        self.decode = MLPDecoder((4,), 2, hidden=(6,)).double()
        with torch.no_grad():
            for parameter in self.parameters():
                parameter += 0.5 * torch.randn_like(parameter)


PAIRS = {"bijection": (Bijection, 3), "linear": (Linear, 4)}


def points(n, features, seed=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, features, dtype=torch.float64, generator=generator)


def flat(total, pair):
    found = torch.autograd.grad(total, list(pair.parameters()), materialize_grads=True)
    return torch.cat([part.flatten() for part in found])


def gradient(volume, pair, x):
    return flat(volume(pair.encode, pair.decode, x).log_volume.sum(), pair)


@pytest.fixture
def all_directions(monkeypatch):
    """Probes √d e_i: with d of them the estimate is the trace itself."""

    def basis(u, count):
        d = u.shape[1]
        assert count == d
        eye = d**0.5 * torch.eye(d, dtype=u.dtype)
        return eye[:, None].expand(d, len(u), d)

    monkeypatch.setattr(free_form, "probes_like", basis)


@each_target
@each_place
@pytest.mark.parametrize("name", PAIRS)
def test_consistent_pairs_descend_on_the_exact_volume(name, at, target, all_directions):
    make, features = PAIRS[name]
    pair, x = make(), points(8, features)
    expected = gradient(ExactVolume(), pair, x)
    if name == "bijection":  # the change of variables, told by the encoder
        jacobians = vmap(jacrev(lambda row: pair.encode(row[None])[0]))(x)
        change = -torch.linalg.slogdet(jacobians).logabsdet.sum()
        torch.testing.assert_close(flat(change, pair), expected)
    volume = FreeFormVolume(target=target, at=at, probes=len(pair.encode(x)[0]))
    torch.testing.assert_close(gradient(volume, pair, x), expected)


@each_target
def test_random_probes_are_unbiased(target):
    pair, x = Linear(), points(32, 4)
    volume = FreeFormVolume(target=target, probes=2)
    draws = torch.stack([gradient(volume, pair, x) for _ in range(100)])
    check_average(draws, gradient(ExactVolume(), pair, x), precise=0.02)


@each_target
@each_place
def test_any_pair_has_the_surrogate_of_the_definition(at, target, all_directions):
    pair, x = Apart(), points(16, 4)
    embedded = FreeFormVolume(target=target, at=at, probes=2)(pair.encode, pair.decode, x)
    u = pair.encode(x)
    x_hat = pair.decode(u)
    place = {"x": x, "x_hat": x_hat, "x_hat_detached": x_hat.detach()}[at]
    f = vmap(jacrev(lambda row: pair.encode(row[None])[0]))(place)
    g = vmap(jacrev(lambda row: pair.decode(row[None])[0]))(u)
    by_encoder = -(f @ g.detach()).diagonal(dim1=1, dim2=2)
    by_decoder = (f.detach() @ g).diagonal(dim1=1, dim2=2)
    chosen = {
        "encoder": by_encoder,
        "decoder": by_decoder,
        "probe": torch.where(by_decoder > 1, by_decoder, by_encoder),
    }[target]
    torch.testing.assert_close(embedded.u, u)
    torch.testing.assert_close(embedded.x_hat, x_hat)
    assert not embedded.log_volume.any()
    torch.testing.assert_close(flat(embedded.log_volume.sum(), pair), flat(chosen.sum(), pair))
    if target == "probe":
        assert 0.05 < (by_decoder > 1).double().mean() < 0.95  # both are at work


def test_which_network_the_gradient_goes_to():
    pair, x = Apart(), points(16, 4)
    decoder = sum(parameter.numel() for parameter in pair.decode.parameters())
    assert not gradient(FreeFormVolume(), pair, x)[-decoder:].any()
    for volume in (FreeFormVolume(at="x_hat"), FreeFormVolume(target="decoder")):
        assert gradient(volume, pair, x)[-decoder:].any()


def test_k_probes_scatter_k_times_less():
    pair, x = Apart(), points(8, 4)

    def scatter(probes):
        torch.manual_seed(9)
        volume = FreeFormVolume(probes=probes)
        return torch.stack([gradient(volume, pair, x) for _ in range(200)]).var(0).sum()

    assert scatter(8) * 8 == pytest.approx(float(scatter(1)), rel=0.35)


@each_target
@each_place
def test_an_encoder_that_breaks_at_one_sample_leaves_the_others_alone(at, target):
    pair, x = Apart(), points(4, 4)
    x[3, 0] = 0.0

    def cusp(y):
        return pair.encode(torch.cat([y[:, :1].abs().sqrt(), y[:, 1:]], 1))

    found = []
    for rows in (x, x[:3]):
        torch.manual_seed(6)
        embedded = FreeFormVolume(target=target, at=at)(cusp, pair.decode, rows)
        torch.testing.assert_close(embedded.u, cusp(rows))
        torch.testing.assert_close(embedded.x_hat, pair.decode(cusp(rows)))
        assert embedded.log_volume.isnan().tolist() == [False, False, False, at == "x"][: len(rows)]
        parts = (embedded.log_volume, embedded.u, embedded.x_hat)
        found.append(flat(sum(part[:3].sum() for part in parts), pair))
    torch.testing.assert_close(*found)
    assert found[0].isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "both"}, r"target is 'both'; accepted are \('encoder'"),
        ({"at": "u"}, r"at is 'u'; accepted are \('x'"),
        ({"probes": 0}, "probes is 0"),
    ],
)
def test_unknown_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        FreeFormVolume(**options)

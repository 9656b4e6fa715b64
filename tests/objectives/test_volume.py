"""Every volume against every proof; a new one is a line in `volume_cases.py`."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev, vmap
from volume_cases import CASES

from lightning_flows.core.errors import ConfigError
from lightning_flows.flows import PaddedFlow, RealNVP
from lightning_flows.jacobians import log_volume
from lightning_flows.jacobians.log_volume import half_log_det
from lightning_flows.objectives import ExactVolume, PrincipalVolume, StochasticVolume
from proofs.common import pairs
from proofs.volume import PROOFS

D, LATENT, BATCH = 6, 3, 4


class Decoder(nn.Module):
    """A smooth curved map from 3 to 2 x 3 dimensions."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(LATENT, 5), nn.Tanh(), nn.Linear(5, D))
        self.skip = nn.Linear(LATENT, D, bias=False)

    def forward(self, z):
        return (self.net(z) + self.skip(z)).reshape(-1, 2, 3)


@pytest.mark.parametrize(("prove", "case"), pairs(CASES, PROOFS))
def test_volume(prove, case):
    prove(case)


@pytest.fixture
def decoder():
    torch.manual_seed(1)
    return Decoder().double()


@pytest.fixture
def z():
    generator = torch.Generator().manual_seed(2)
    return torch.randn(BATCH, LATENT, dtype=torch.float64, generator=generator)


def embed(strategy, decoder, z):
    """Reconstruction and log-volume at z, which stands for the data as well."""
    embedded = strategy(lambda u: u, decoder, z)
    assert embedded.u is z
    return embedded.x_hat, embedded.log_volume


def reference(decoder, z):
    """½ log det JᵀJ of each row, by reverse mode and torch.logdet."""

    def flat(point, parameters):
        return functional_call(decoder, parameters, (point[None],)).flatten()

    j = vmap(jacrev(flat), (0, None))(z, dict(decoder.named_parameters()))
    return 0.5 * torch.logdet(j.mT @ j)


def gradients(value, decoder, z):
    """Of a weighted sum over the batch, with respect to all parameters and z, in one vector."""
    weights = torch.linspace(0.5, 2.0, len(z), dtype=z.dtype)
    inputs = [*decoder.parameters(), z]
    found = torch.autograd.grad((value * weights).sum(), inputs, materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in found])


@pytest.mark.parametrize("chunk_size", [None, 1, 2, 7])
def test_exact_volume_is_autograds(decoder, z, chunk_size):
    z.requires_grad_()
    x, volume = embed(ExactVolume(chunk_size), decoder, z)
    expected = reference(decoder, z)
    torch.testing.assert_close(x, decoder(z))
    torch.testing.assert_close(volume, expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(
        gradients(volume, decoder, z), gradients(expected, decoder, z), rtol=0, atol=1e-8
    )


def test_reconstructions_carry_gradients_beside_the_volume(decoder, z):
    z.requires_grad_()
    target = torch.ones(BATCH, 2, 3, dtype=z.dtype)
    direct = (decoder(z) - target).square().flatten(1).sum(1) + reference(decoder, z)
    expected = gradients(direct, decoder, z)
    for strategy in (ExactVolume(), ExactVolume(2)):
        x, volume = embed(strategy, decoder, z)
        loss = (x - target).square().flatten(1).sum(1) + volume
        torch.testing.assert_close(gradients(loss, decoder, z), expected)
    x, _ = embed(StochasticVolume(), decoder, z)
    torch.testing.assert_close(
        gradients(x.flatten(1).sum(1), decoder, z),
        gradients(decoder(z).flatten(1).sum(1), decoder, z),
    )


def test_the_volume_in_chunks_is_the_true_one(decoder, z):
    expected = reference(decoder, z).detach()
    for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        with mode():
            measured = log_volume(decoder, z, chunk_size=2)
        torch.testing.assert_close(measured.detach(), expected, rtol=0, atol=1e-12)


def test_more_probes_scatter_less(decoder, z):
    z.requires_grad_()
    torch.manual_seed(4)

    def scatter(probes):
        strategy = StochasticVolume(probes)
        draws = [gradients(embed(strategy, decoder, z)[1], decoder, z) for _ in range(100)]
        return torch.stack(draws).var(0).sum()

    assert 8 < scatter(1) / scatter(16) < 32


def test_one_latent_one_sample_and_full_dimension(z):
    torch.manual_seed(5)
    for latent, data in ((1, 4), (3, 3)):
        net = nn.Sequential(nn.Linear(latent, 8), nn.Tanh(), nn.Linear(8, data)).double()
        point = z[:1, :latent]
        expected = reference(net, point).detach()
        for strategy in (ExactVolume(), StochasticVolume()):
            torch.testing.assert_close(embed(strategy, net, point)[1].detach(), expected)


def flattened_at_zero(decoder, u):
    """The third latent has no effect where the first one is 0: J is not of full rank."""
    return decoder(torch.cat([u[:, :2], u[:, :1] * u[:, 2:]], 1))


def cusp_at_zero(decoder, u):
    """J is not finite where the third latent is 0."""
    return decoder(torch.cat([u[:, :2], u[:, 2:].abs().sqrt()], 1))


@pytest.mark.parametrize("wound", [flattened_at_zero, cusp_at_zero])
@pytest.mark.parametrize(
    "strategy",
    [
        ExactVolume(),
        ExactVolume(2),
        PrincipalVolume(),
        StochasticVolume(),
        StochasticVolume(direct=0, tolerance=1e-9),
    ],
    ids=["exact", "chunks", "principal", "stochastic", "iterative"],
)
def test_a_sample_that_fails_leaves_the_others_alone(decoder, z, strategy, wound):
    z[3] = torch.tensor([0.0, 0.7, 0.0])
    found = []
    for rows in (z, z[:3]):
        torch.manual_seed(6)
        points = rows.clone().requires_grad_()
        embedded = strategy(lambda u: u, lambda u: wound(decoder, u), points)
        value = embedded.log_volume[:3].sum() + embedded.x_hat[:3].square().sum()
        inputs = [*decoder.parameters(), points]
        gradients = torch.autograd.grad(value, inputs, materialize_grads=True)
        found.append([*gradients[:-1], gradients[-1][:3], value])
        if len(rows) == 4:
            assert embedded.log_volume.isnan().tolist() == [False, False, False, True]
            assert not gradients[-1][3].any()
    torch.testing.assert_close(*found)
    assert all(part.isfinite().all() for part in found[0])
    measured = log_volume(lambda u: wound(decoder, u), z)
    assert measured.isnan().tolist() == [False, False, False, True]


@pytest.mark.parametrize("strategy", [ExactVolume(), PrincipalVolume()])
def test_where_no_sample_has_full_rank_nothing_is_poisoned(decoder, z, strategy):
    z[:, 0] = 0.0
    found = strategy(lambda u: u, lambda u: flattened_at_zero(decoder, u), z)
    assert found.log_volume.isnan().all()
    assert not gradients(found.log_volume, decoder, z.requires_grad_()).any()


def random_columns(n, rows, columns, dtype):
    """Independent columns whose lengths differ by up to six orders of magnitude."""
    generator = torch.Generator().manual_seed(rows)
    lengths = 10 ** (6 * torch.rand(n, 1, columns, generator=generator, dtype=torch.float64) - 3)
    j = torch.randn(n, rows, columns, generator=generator, dtype=torch.float64) * lengths
    return j.to(dtype), generator


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("rows", "columns"), [(5, 3), (20, 6), (784, 10), (2000, 40)])
def test_a_column_that_depends_on_the_others_is_noticed(rows, columns, dtype):
    n = 1000 if rows < 100 else 40
    for scale in (1e-3, 1.0, 1e3):
        j, generator = random_columns(n, rows, columns, dtype)
        shares = torch.randn(n, columns - 1, 1, generator=generator, dtype=torch.float64).to(dtype)
        j[:, :, -1:] = scale * (j[:, :, :-1] @ shares)  # what is left of it is rounding, not 0
        assert half_log_det(j).isnan().double().mean() >= 0.99
        assert half_log_det(j[:, :, :-1]).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("rows", "columns"), [(5, 3), (20, 6), (784, 10), (12288, 10)])
def test_a_condition_number_of_a_thousand_is_of_full_rank(rows, columns, dtype):
    n = 200 if rows < 1000 else 4
    j, generator = random_columns(n, rows, columns, torch.float64)
    q = torch.linalg.qr(j).Q
    turn = torch.linalg.qr(torch.randn(n, columns, columns, generator=generator).double()).Q
    scales = torch.logspace(0, -3, columns, dtype=torch.float64)
    lengths = j.norm(dim=1, keepdim=True)
    for tested in (j, q @ torch.diag(scales) @ turn, q @ torch.diag(scales) @ turn * lengths):
        found = half_log_det(tested.to(dtype))
        expected = torch.linalg.qr(tested).R.diagonal(dim1=1, dim2=2).abs().log().sum(1)
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=0.01)


@pytest.mark.parametrize(
    "wrong",
    [lambda: StochasticVolume(0), lambda: ExactVolume(0), lambda: StochasticVolume(1, 0)],
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match="accepted are"):
        wrong()


def test_chunks_train_an_affine_coupling_flow_as_the_whole_does():
    torch.manual_seed(3)
    flow = PaddedFlow(
        D,
        latent_features=LATENT,
        ambient=partial(RealNVP, layers=2, hidden=(8,), activation="silu"),
    ).double()
    for parameter in flow.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    x = torch.randn(BATCH, D).double()

    def gradients(chunk_size):
        embedded = ExactVolume(chunk_size=chunk_size)(flow.project, flow.embed, x)
        flow.zero_grad()
        embedded.log_volume.sum().backward()
        return [p.grad.clone() for p in flow.ambient.parameters()]

    for chunked, whole in zip(gradients(1), gradients(None), strict=True):
        torch.testing.assert_close(chunked, whole)

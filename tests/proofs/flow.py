"""What every flow is held to, besides what every density is."""

import math

import pytest
import torch
from torch import Tensor

from lightning_flows.core.errors import ShapeError
from lightning_flows.flows.base import Flow
from proofs.common import Build, Proofs, check_gradients, draw, draw_context, make, near, same
from proofs.density import injective, no_convolution, points

PROOFS = Proofs()
INJECTIVE = Proofs()
FREE_FORM = Proofs()


def bijective(p: Flow) -> bool:
    return p.transform.kind == "bijection" and not injective(p)


def base_context(p: Flow, context: Tensor | None) -> Tensor | None:
    return None if p.base.context_shape is None else context


@PROOFS.add(when=bijective)
def log_prob_is_base_plus_contribution(build: Build) -> None:
    p = make(build)
    x, context = points(p, 5), draw_context(p, 5)
    z, contribution = p.transform.encode(x, context)
    near(p.log_prob(x, context), p.base.log_prob(z, base_context(p, context)) + contribution, 1e-12)
    same(p(x, context), p.log_prob(x, context))
    same(p.encode(x, context), z)


@PROOFS.add(when=bijective)
def round_trip(build: Build) -> None:
    for dtype, tolerance in ((torch.float64, 1e-8), (torch.float32, 2e-3)):
        p = make(build, dtype)
        context = draw_context(p, 32, dtype)
        x = points(p, 32, dtype)
        z = p.encode(x, context)
        assert z.shape == (32, *p.latent_shape)
        near(p.decode(z, context), x, tolerance)
        z = draw(p.base.support, (32, *p.latent_shape), dtype)
        near(p.encode(p.decode(z, context), context), z, tolerance)


@PROOFS.add()
def temperature_scales_the_base(build: Build) -> None:
    p = make(build)
    context = draw_context(p, 1)
    for temperature in (0.0, 0.5):
        torch.manual_seed(3)
        samples = p.sample(6, context, temperature)
        rows = None if context is None else context.expand(6, *context.shape[1:])
        torch.manual_seed(3)
        z = p.base.draw(6, base_context(p, rows), temperature)
        near(samples.reshape(6, *p.event_shape), p.decode(z, rows), 1e-12)


@PROOFS.add()
def distribution_speaks_torch(build: Build) -> None:
    p = make(build).eval()  # where the noise of a bound is that of its row
    for batch in [3] if p.context_shape else [0]:
        context = draw_context(p, batch)
        d = p.distribution(context)
        outer = (batch,) if batch else ()
        assert (d.batch_shape, d.event_shape) == (outer, p.event_shape)
        for n in ((), (1,), (4,), (2, 3)):
            shape = torch.Size(n)
            x = d.sample(shape)
            assert x.shape == (*n, *outer, *p.event_shape)
            assert not x.requires_grad
            log_p = d.log_prob(x)
            assert log_p.shape == (*n, *outer)
            flat = x.reshape(-1, *p.event_shape)
            rows = None
            if context is not None:
                rows = context.repeat(math.prod(n), *[1] * (context.ndim - 1))
            near(log_p.flatten(), p.log_prob(flat, rows), 1e-11)
        torch.manual_seed(6)
        draws = d.sample(torch.Size((4,)))
        torch.manual_seed(6)
        expected = p.sample(4, context)
        # with gradients, torch may choose another convolution
        near(draws, expected if context is None else expected.transpose(0, 1), 1e-12)
        if p.measure == "counting":  # nothing moves a whole number by little
            continue
        d.rsample(torch.Size((2,))).square().sum().backward()
        grads = [q.grad for q in p.parameters()]
        assert any(g is not None and g.any() for g in grads)


@PROOFS.add(when=lambda p: p.context_shape is not None)
def one_point_is_scored_under_every_context(build: Build) -> None:
    """As torch.distributions broadcasts a value against the batch shape."""
    p = make(build).eval()  # where the noise of a bound is that of its row
    context = draw_context(p, 3)
    x = points(p, 1)
    expected = p.log_prob(x.expand(3, *p.event_shape), context)
    near(p.distribution(context).log_prob(x[0]), expected, 1e-11)
    near(p.distribution(context).log_prob(x[None]), expected[None], 1e-11)


@PROOFS.add()
def says_what_shape_it_wants(build: Build) -> None:
    p = make(build)
    context = draw_context(p, 2)
    expected = ", ".join(["batch", *map(str, p.event_shape)])
    for wrong in ((2, *p.event_shape, 1), p.event_shape, (2, *p.event_shape[:-1], 77)):
        for method in (p.log_prob, p.encode):
            with pytest.raises(ShapeError, match=r"x has shape \(.*\); expected is ") as error:
                method(torch.zeros(wrong, dtype=torch.float64), context)
            assert f"({expected})." in str(error.value)
    with pytest.raises(ShapeError, match="z has shape"):
        p.decode(torch.zeros(2, *p.latent_shape, 1, dtype=torch.float64), context)
    x, z = points(p, 2), draw(p.base.support, (2, *p.latent_shape))
    for method, value in ((p.log_prob, x), (p.encode, x), (p.decode, z)):
        if p.context_shape is None:
            with pytest.raises(ShapeError, match="context was given, but the density has no"):
                method(value, torch.zeros(2, 3, dtype=torch.float64))
        else:
            with pytest.raises(ShapeError, match="context is missing; expected is one of shape"):
                method(value)


@INJECTIVE.add()
def projects_once_and_for_all(build: Build) -> None:
    for dtype, tolerance in ((torch.float64, 1e-8), (torch.float32, 5e-2)):
        p = make(build, dtype)
        context = draw_context(p, 16, dtype)
        x = points(p, 16, dtype)
        once = p.decode(p.encode(x, context), context)
        assert (once - x).abs().max() > 0.1, "x lies on the manifold by itself"
        near(p.decode(p.encode(once, context), context), once, tolerance)
        project, embed = p.chart(context)
        near(embed(project(x)), once, tolerance)
        z = draw(None, (16, *p.latent_shape), dtype)
        near(p.encode(p.decode(z, context), context), z, tolerance)
        u = draw(None, (16, *p.manifold_shape), dtype)
        near(project(embed(u)), u, tolerance)


@INJECTIVE.add()
def density_on_the_manifold(build: Build) -> None:
    """log p(decode(z)) = log p_base(z) - ½ log det JᵀJ, J the Jacobian of decode."""
    p = make(build)
    z, context = draw(None, (4, *p.latent_shape)), draw_context(p, 4)
    log_p = p.log_prob(p.decode(z, context), context)
    for i in range(4):
        row = None if context is None else context[i : i + 1]
        jacobian = torch.autograd.functional.jacobian(
            lambda v, row=row: p.decode(v[None], row).flatten(), z[i]
        )
        volume = torch.linalg.slogdet(jacobian.T @ jacobian).logabsdet / 2
        if isinstance(p.prior, Flow):
            base = p.prior.base.log_prob(z[i : i + 1], base_context(p.prior, row))
        else:
            base = p.prior.log_prob(z[i : i + 1])
        near(log_p[i], (base - volume)[0], 1e-8)


@INJECTIVE.add()
def samples_lie_on_the_manifold(build: Build) -> None:
    p = make(build)
    context = draw_context(p, 2)
    for temperature in (0.5, 1.0):
        x = p.sample(5, context, temperature).reshape(-1, *p.event_shape)
        project, embed = p.chart(None if context is None else context.repeat_interleave(5, 0))
        near(embed(project(x)), x, 1e-9)
    torch.manual_seed(1)
    cold = p.sample(5, context, 0.0)
    torch.manual_seed(2)
    near(p.sample(5, context, 0.0), cold, 1e-12)


@INJECTIVE.add(when=lambda p: p.manifold_shape == (1,))
def integrates_to_one_along_the_curve(build: Build) -> None:
    p = make(build)
    context = draw_context(p, 1)
    u = torch.linspace(-20, 20, 8001, dtype=torch.float64)[:, None]
    rows = None if context is None else context.expand(len(u) - 1, *context.shape[1:])
    with torch.no_grad():
        ends = p.chart(None if context is None else context.expand(len(u), *context.shape[1:]))[1]
        curve, middle = ends(u), p.chart(rows)[1]((u[1:] + u[:-1]) / 2)
        length = (curve[1:] - curve[:-1]).flatten(1).norm(dim=1)
        total = (p.log_prob(middle, rows).exp() * length).sum().item()
    assert total == pytest.approx(1, abs=0.01)


@FREE_FORM.add()
def density_at_what_the_encoder_says(build: Build) -> None:
    """log p(x) = log p_prior(u) - ½ log det JᵀJ at u = project(x), wherever decoding leads."""
    p = make(build)
    x, context = points(p, 4), draw_context(p, 4)
    u, log_p = p.project(x), p.log_prob(x, context)
    assert (p.embed(u) - x).abs().max() > 0.1, "the round trip holds by itself"
    ambient = p.ambient_log_prob(x, context, beta=2.0)
    n, d = x[0].numel(), u.shape[1]
    for i in range(4):
        row = None if context is None else context[i : i + 1]
        prior = p.prior.log_prob(u[i : i + 1], row)[0]
        j = torch.autograd.functional.jacobian(lambda v: p.embed(v[None]).flatten(), u[i])
        near(log_p[i], prior - torch.linalg.slogdet(j.T @ j).logabsdet / 2, 1e-8)
        f = torch.autograd.functional.jacobian(lambda v: p.project(v[None])[0], x[i]).flatten(1)
        volume = torch.linalg.slogdet(f @ f.T).logabsdet / 2
        residual = (x[i] - p.embed(u[i : i + 1])[0]).square().sum()
        gaussian = (n - d) / 2 * math.log(2.0 / math.pi) - 2.0 * residual
        near(ambient[i], prior + volume + gaussian, 1e-8)


@FREE_FORM.add()
def losses_reach_every_parameter(build: Build) -> None:
    p = make(build)
    x, context = points(p, 16), draw_context(p, 16)

    def loss() -> Tensor:
        both: Tensor = p.log_prob(x, context) + p.ambient_log_prob(x, context, beta=2.0)
        return both.sum()

    check_gradients(p, loss)


@FREE_FORM.add(when=no_convolution)
def starts_near_the_identity(build: Build) -> None:
    """Orthonormal columns, and the encoder is the decoder's pseudo-inverse."""
    p = build().double()
    u = draw(None, (5, *p.manifold_shape))
    near(p.project(p.embed(u)), u, 1e-6)
    for row in u:
        j = torch.autograd.functional.jacobian(lambda v: p.embed(v[None]).flatten(), row)
        near(j.T @ j, torch.eye(len(row), dtype=j.dtype), 1e-6)


@FREE_FORM.add()
def samples_are_decoded_draws_of_the_prior(build: Build) -> None:
    p = make(build)
    context = draw_context(p, 2)
    torch.manual_seed(4)
    x = p.sample(3, context)
    torch.manual_seed(4)
    u = p.prior.sample(3, context).reshape(-1, *p.manifold_shape)
    near(x.reshape(-1, *p.event_shape), p.embed(u), 1e-12)

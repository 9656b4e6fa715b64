"""What every transform owes to the likelihood: its contribution, and the noise behind it."""

import torch

from lightning_flows.core.noise import Resampled
from lightning_flows.core.shapes import size
from lightning_flows.core.support import REAL, Interval, Levels
from lightning_flows.flows.base import Flow
from lightning_flows.transforms.base import Transform
from proofs import density
from proofs.common import Build, Proofs, draw_context, make, near, same
from proofs.contract import bijective, codomain, encodes, inputs
from proofs.density import matches_its_samples, plane, weights_match_samples
from proofs.supports import base_on, scaled_base

PROOFS = Proofs()


def with_base(t: Transform) -> Flow:
    return Flow(t, base_on(codomain(t), t.latent_shape)).double()


def on_manifold(t: Transform) -> bool:
    """Whether data lies on a manifold in a space of more dimensions."""
    return t.domain is not None and t.domain.measure == "Riemannian volume"


def smooth(t: Transform) -> bool:
    """Whether a grid over the data sees every step of the density."""
    latent = codomain(t) or REAL
    return plane(with_base(t)) and isinstance(latent, Interval)


def small(t: Transform) -> bool:
    """Few enough dimensions and classes for importance sampling."""
    if bijective(t) or max(size(t.event_shape), size(t.latent_shape)) > 4:
        return False
    sets = (t.domain, t.codomain)
    return all(not isinstance(s, Levels) or s.high <= 16 for s in sets)


@PROOFS.add(when=bijective)
def contribution_is_log_det(build: Build) -> None:
    t = make(build)
    x, context = inputs(t, "encode"), draw_context(t, 4)
    _, contribution = t.encode(x, context)
    for i in range(len(x)):
        row = None if context is None else context[i : i + 1]
        if on_manifold(t):
            z = t.encode(x[i : i + 1], row)[0][0]
            j = torch.autograd.functional.jacobian(
                lambda v, row=row: t.decode(v[None], row)[0][0], z
            )
            near(contribution[i], -torch.linalg.slogdet(j.T @ j).logabsdet / 2, 1e-9)
            continue
        jacobian = torch.autograd.functional.jacobian(
            lambda v, row=row: t.encode(v.view(1, *t.event_shape), row)[0].flatten(),
            x[i].flatten(),
        )
        near(contribution[i], torch.linalg.slogdet(jacobian).logabsdet, 1e-9)


@PROOFS.add()
def says_whether_it_preserves_volume(build: Build) -> None:
    """The declaration holds for any parameters, and is not forgotten."""
    t = make(build)
    context = draw_context(t, 4)
    both = [getattr(t, name)(inputs(t, name), context)[1] for name in ("encode", "decode")]
    moves = bijective(t) and not any(contribution.any() for contribution in both)
    assert t.volume_preserving == moves


@PROOFS.add(when=lambda t: t.exact and smooth(t))
def makes_a_density(build: Build) -> None:
    matches_its_samples(with_base(make(build)))


@PROOFS.add(when=small)
def makes_a_density_on_average(build: Build) -> None:
    """The mean of exp(log p_base(z) + V) over z is a density, and samples follow it."""
    weights_match_samples(with_base(make(build, strength=0.2)))


@PROOFS.add()
def own_samples_have_a_density(build: Build) -> None:
    for dtype, scales in ((torch.float32, (1.0, 5.0, 30.0)), (torch.float64, (30.0,))):
        for scale in scales:
            t = make(build, dtype, strength=scale).eval()
            p = Flow(t, scaled_base(codomain(t), t.latent_shape, scale)).to(dtype)
            context = draw_context(t, 1, dtype)
            with torch.no_grad():
                x = p.sample(64, context).reshape(64, *p.event_shape)
                wide = None if context is None else context.expand(64, *context.shape[1:])
                log_p = p.log_prob(x, wide)
                rows = x.flatten(1).abs().amax(1) < density.FAR
                assert log_p[rows].isfinite().all(), f"{dtype}, scale {scale}: {log_p}"


@PROOFS.add(when=lambda t: with_base(t).support != REAL)
def outside_there_is_nothing(build: Build) -> None:
    density.outside_there_is_nothing(lambda: with_base(build()))


@PROOFS.add(when=lambda t: not encodes(t))
def evaluation_noise_belongs_to_the_row(build: Build) -> None:
    t = make(build).eval()
    x, context = inputs(t, "encode", 16), draw_context(t, 16)
    state = torch.get_rng_state()
    z, contribution = t.encode(x, context)
    same(t.encode(x, context), (z, contribution))
    with Resampled(torch.arange(16)):
        others = t.encode(x, context)[0]
        same(t.encode(x, context)[0], others)
    same(others[0], z[0])
    assert not torch.equal(others[1:], z[1:])
    for i in range(16):
        row, given = x[i : i + 1], None if context is None else context[i : i + 1]
        with Resampled(i):
            near(t.encode(row, given)[0][0], others[i], 1e-11)
        if not (x[:i] == row).flatten(1).all(1).any():  # the first of its kind
            near(t.encode(row, given), (z[i : i + 1], contribution[i : i + 1]), 1e-11)
    equal = x[:1].expand(x.shape)
    given = None if context is None else context[:1].expand(context.shape)
    drawn = t.encode(equal, given)[0]
    same(drawn[0], z[0])
    assert len(drawn.flatten(1).unique(dim=0)) > 1
    assert torch.equal(torch.get_rng_state(), state)
    t.train()
    assert not torch.equal(t.encode(x, context)[0], t.encode(x, context)[0])


@PROOFS.add(when=lambda t: t.kind in ("inference surjection", "stochastic"))
def samples_are_fresh_in_evaluation(build: Build) -> None:
    t = make(build).eval()
    z, context = inputs(t, "decode", 16), draw_context(t, 16)
    assert not torch.equal(t.decode(z, context)[0], t.decode(z, context)[0])

"""What every density is held to, a base or a flow."""

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_flows.bases.base import Density
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.core.shapes import size
from lightning_flows.core.support import REAL, Interval, Levels
from lightning_flows.flows.injective import InjectiveFlow
from proofs.common import (
    Build,
    Proofs,
    attributes,
    check_gradients,
    draw,
    draw_context,
    make,
    near,
    same,
    tensors,
)
from proofs.supports import Around, proposal_on, rows_outside

PROOFS = Proofs()
SAMPLES = 40_000
FAR = 1e4  # what networks with large weights make beyond it has squares that overflow


def points(p: Density, n: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """Values in the support of a density, (n, *event_shape)."""
    return draw(p.support, (n, *p.event_shape), dtype, seed)


def exact(p: Density) -> bool:
    return bool(getattr(p, "exact", True))


def plane(p: Density) -> bool:
    """Whether a grid covers it: low-dimensional, and a density with respect to area."""
    return size(p.event_shape) <= 2 and exact(p) and not injective(p) and not special(p)


def special(p: Density) -> bool:
    """Whether a grid would miss the density."""
    return not isinstance(p.support, Interval) or p.support.atom


def injective(p: Density) -> bool:
    """Whether the density lives on a manifold of fewer dimensions."""
    return isinstance(p, InjectiveFlow) and size(p.latent_shape) < size(p.event_shape)


def _grid(p: Density) -> tuple[Tensor, float, Tensor]:
    """Edges along one dimension, width of a cell, and midpoints (cells^D, *event_shape)."""
    assert isinstance(p.support, Interval)
    low, high = p.support.low, p.support.high
    low, high = max(low, -20.0), min(high, 20.0)
    d = size(p.event_shape)
    cells = 8000 if d == 1 else 500
    edges = torch.linspace(low, high, cells + 1, dtype=torch.float64)
    middle = (edges[1:] + edges[:-1]) / 2
    mesh = torch.stack(torch.meshgrid(*[middle] * d, indexing="ij"), -1)
    return edges, (high - low) / cells, mesh.reshape(-1, *p.event_shape)


@torch.no_grad()
def matches_its_samples(p: Density) -> None:
    """The density integrates to 1, and samples follow it: distribution function and entropy."""
    context = draw_context(p, 1)
    edges, width, x = _grid(p)
    d, cells = size(p.event_shape), len(edges) - 1
    log_p = p.log_prob(x, None if context is None else context.expand(len(x), *context.shape[1:]))
    mass = log_p.exp() * width**d

    torch.manual_seed(1)
    flat = p.sample(SAMPLES, context).reshape(SAMPLES, d)
    flat = flat[((flat >= edges[0]) & (flat <= edges[-1])).all(1)]
    inside = len(flat) / SAMPLES
    assert inside > 0.95
    noise = math.sqrt(inside * (1 - inside) / SAMPLES)
    assert mass.sum().item() == pytest.approx(inside, abs=4e-3 + 5 * noise)

    cell = torch.bucketize(flat.contiguous(), edges[1:-1].contiguous())
    index = sum(cell[:, i] * cells ** (d - 1 - i) for i in range(d))
    counts = torch.bincount(index, minlength=cells**d) / SAMPLES
    cdf, empirical = (v.view([cells] * d) for v in (mass, counts))
    for dim in range(d):
        cdf, empirical = cdf.cumsum(dim), empirical.cumsum(dim)
    statistic = (cdf - empirical).abs().max().item()
    assert statistic < 2.5 / math.sqrt(SAMPLES) + 2e-3, "samples do not follow the density"

    rows = None if context is None else context.expand(len(flat), *context.shape[1:])
    at_samples = p.log_prob(flat.reshape(-1, *p.event_shape), rows)
    expected = torch.nan_to_num(mass * log_p, nan=0.0).sum() / mass.sum()
    margin = 5 * at_samples.std() / math.sqrt(SAMPLES) + 0.01
    assert (at_samples.mean() - expected).abs() < margin, "samples have another entropy"


@torch.no_grad()
def weights_match_samples(p: Density, rows: int = 100_000) -> None:
    """Points of a proposal, weighted by exp(log_prob), have mass 1 and the moments of samples.

    For a lower bound the weights are random and right on average.
    """
    torch.manual_seed(2)
    context = draw_context(p, 1)
    wide = None if context is None else context.expand(rows, *context.shape[1:])
    samples = p.sample(rows, context).reshape(rows, *p.event_shape)
    real = p.support == REAL
    proposal = Around(samples, 1.5) if real else proposal_on(p.support, p.event_shape).double()
    torch.manual_seed(1)
    x = proposal.draw(rows)
    weights = (p.log_prob(x, wide) - proposal.log_prob(x)).exp()
    noise = (weights.std() / math.sqrt(rows)).item()
    assert noise < 0.008, "the proposal does not cover the density"
    assert weights.mean().item() == pytest.approx(1, abs=0.02)

    samples = samples.flatten(1)
    directions = torch.linspace(-1.3, 1.7, 4 * samples.shape[1], dtype=x.dtype).sin()
    for wave in (torch.cos, torch.sin):
        expected = wave(samples @ directions.view(-1, 4))
        actual = weights[:, None] * wave(x.reshape(rows, -1) @ directions.view(-1, 4))
        margin = 5 * (actual.std(0).square() + expected.std(0).square()).sqrt() / math.sqrt(rows)
        assert ((actual.mean(0) - expected.mean(0)).abs() < margin + 1e-3).all()


@PROOFS.add()
def shapes(build: Build) -> None:
    for dtype in (torch.float32, torch.float64):
        p = make(build, dtype)
        for n in (1, 3):
            context = draw_context(p, n, dtype)
            log_p = p.log_prob(points(p, n, dtype), context)
            assert (log_p.shape, log_p.dtype) == ((n,), dtype)
            for draws in (1, 4):
                samples = p.sample(draws, context)
                outer = (draws,) if context is None else (n, draws)
                assert (samples.shape, samples.dtype) == ((*outer, *p.event_shape), dtype)
                assert p.draw(n, context).shape == (n, *p.event_shape)


@PROOFS.add(when=plane)
def integrates_to_one_and_samples_follow(build: Build) -> None:
    matches_its_samples(make(build))


@PROOFS.add(when=lambda p: special(p) and size(p.event_shape) <= 4)
def weights_follow_samples(build: Build) -> None:
    weights_match_samples(make(build, strength=0.2))


@PROOFS.add(when=exact)
def rows_do_not_mix(build: Build) -> None:
    p = make(build)
    x, context = points(p, 4), draw_context(p, 4)
    before = {name: tensor.clone() for name, tensor in tensors(p).items()}
    x_before = x.clone()
    log_p = p.log_prob(x, context)
    same(x, x_before)
    same(p.log_prob(x, context), log_p)
    same(tensors(p), before)
    for i in range(4):
        row = None if context is None else context[i : i + 1]
        near(p.log_prob(x[i : i + 1], row), log_p[i : i + 1], 1e-11)


@PROOFS.add(when=lambda p: p.context_shape is not None and exact(p))
def context_goes_with_its_row(build: Build) -> None:
    """Sampling pairs row i of the samples with row i of the context."""
    p = make(build)
    context = 8 * draw_context(p, 3)  # type: ignore[operator]
    torch.manual_seed(2)
    samples = p.sample(4000, context)

    def score(i: int, j: int) -> float:
        """Mean log-density of the samples of context i under context j."""
        rows = context[j : j + 1].expand(4000, *context.shape[1:])
        return p.log_prob(samples[i], rows).mean().item()

    gaps = [score(i, i) - score(i, j) for i in range(3) for j in range(3) if i != j]
    assert min(gaps) > -0.01
    assert max(gaps) > 0.05


@PROOFS.add()
def gradients_reach_every_parameter(build: Build) -> None:
    p = make(build)
    x = points(p, 16)
    context = draw_context(p, 16)

    def loss() -> Tensor:
        torch.manual_seed(3)
        return p.log_prob(x, context).sum()

    check_gradients(p, loss)


@PROOFS.add(when=exact)
def draws_come_with_their_scores(build: Build) -> None:
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-9)):
        p = make(build, dtype).eval()
        context = draw_context(p, 3, dtype)
        torch.manual_seed(3)
        x, log_q = p.sample_and_log_prob(5, context)
        torch.manual_seed(3)
        same(x, p.sample(5, context))
        outer = (5,) if context is None else (3, 5)
        assert (x.shape, log_q.shape) == ((*outer, *p.event_shape), outer)
        rows = None if context is None else context.repeat_interleave(5, 0)
        near(log_q.flatten(), p.log_prob(x.reshape(-1, *p.event_shape), rows), tolerance)


@PROOFS.add(when=lambda p: not exact(p))
def bounds_do_not_score_draws(build: Build) -> None:
    p = make(build)
    with pytest.raises(ConfigError, match="a lower bound of its density; sample_and_log_prob"):
        p.sample_and_log_prob(2, draw_context(p, 2))


@PROOFS.add(when=lambda p: exact(p) and p.reparametrized)
def draws_carry_gradients(build: Build) -> None:
    """Slopes of draws and of their scores, by differences at the same noise."""
    p = make(build)
    context = draw_context(p, 4)

    def loss() -> Tensor:
        torch.manual_seed(3)
        x, log_q = p.sample_and_log_prob(4, context)
        return log_q.sum() + x.sin().sum() + x.square().sum()

    check_gradients(p, loss)


@PROOFS.add(when=exact)
def state_dict_and_copies(build: Build) -> None:
    p, other = make(build, seed=0), make(build, seed=50)
    other.load_state_dict(p.state_dict())
    x, context = points(p, 4), draw_context(p, 4)
    for copied in (other, copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        same(copied.log_prob(x, context), p.log_prob(x, context))
        torch.manual_seed(4)
        samples = p.sample(3, context)
        torch.manual_seed(4)
        same(copied.sample(3, context), samples)
        torch.manual_seed(5)
        assert not torch.equal(copied.sample(3, context), samples)


@PROOFS.add()
def moves_as_a_whole(build: Build) -> None:
    p = make(build).to("meta")
    stray = [name for name, tensor in attributes(p) if tensor.device.type != "meta"]
    assert not stray, f"left behind by .to(device): {stray}"
    context = draw_context(p, 3)
    context = None if context is None else context.to("meta")
    assert p.log_prob(points(p, 3).to("meta"), context).device.type == "meta"
    assert p.sample(2, context).device.type == "meta"


@PROOFS.add(when=lambda p: exact(p) and not isinstance(p.support, Levels))
def torch_func_goes_through(build: Build) -> None:
    p = make(build)
    x, context = points(p, 3), draw_context(p, 3)
    tangents = draw(None, (2, *x.shape), seed=3)

    def log_prob(v: Tensor) -> Tensor:
        result: Tensor = p.log_prob(v, context)
        return result

    pushed = torch.func.vmap(lambda v: torch.func.jvp(log_prob, (x,), (v,))[1])(tangents)
    (score,) = torch.func.vjp(log_prob, x)[1](torch.ones(3, dtype=x.dtype))
    near(pushed, (score * tangents).flatten(2).sum(2), 1e-9)


@PROOFS.add(when=lambda p: p.support != REAL)
def outside_there_is_nothing(build: Build) -> None:
    """-inf outside of the support, NaN for NaN; the other rows and their gradients stay."""
    p = make(build).eval()
    inside = points(p, 3)
    outside = rows_outside(p.support, inside)
    context = draw_context(p, 4 + len(outside))
    missing = inside[:1].clone()
    missing.flatten()[-1] = torch.nan
    x = torch.cat([inside, outside, missing])
    rows = None if context is None else context[:3]
    expected = p.log_prob(inside, rows)
    log_p = p.log_prob(x, context)
    assert expected.isfinite().all()
    near(log_p[:3], expected, 1e-12)
    assert (log_p[3:-1] == -torch.inf).all(), log_p
    assert log_p[-1].isnan() or (isinstance(p.support, Levels) and log_p[-1] == -torch.inf)
    parameters = [q for q in p.parameters() if q.requires_grad]
    if parameters and expected.requires_grad:
        finite = log_p[log_p.isfinite()].sum()
        grads = torch.autograd.grad(finite, parameters, allow_unused=True)
        alone = torch.autograd.grad(expected.sum(), parameters, allow_unused=True)
        near(grads, alone, 1e-10)


@PROOFS.add()
def own_samples_have_a_density(build: Build) -> None:
    for dtype, scales in ((torch.float32, (1.0, 5.0, 30.0)), (torch.float64, (30.0,))):
        for scale in scales:
            p = make(build, dtype, strength=scale).eval()
            context = draw_context(p, 1, dtype)
            with torch.no_grad():
                x = p.sample(64, context).reshape(64, *p.event_shape)
                wide = None if context is None else context.expand(64, *context.shape[1:])
                log_p = p.log_prob(x, wide)
                rows = x.flatten(1).abs().amax(1) < FAR
                assert log_p[rows].isfinite().all(), f"{dtype}, scale {scale}: {log_p}"


def no_convolution(p: Density) -> bool:
    """Dynamo cannot trace a group normalization in forward mode."""
    return not any(isinstance(module, nn.GroupNorm) for module in p.modules())


@PROOFS.add(when=lambda p: exact(p) and no_convolution(p), slow=True)
def compiles_without_a_break(build: Build) -> None:
    p = make(build)
    x, context = points(p, 4), draw_context(p, 4)
    torch.compiler.reset()
    compiled: Any = torch.compile(p.log_prob, fullgraph=True, backend="eager")
    near(compiled(x, context), p.log_prob(x, context), 1e-10)


@PROOFS.add()
def refuses_wrong_context(build: Build) -> None:
    p = make(build)
    if p.context_shape is None:
        with pytest.raises(ShapeError, match="context was given, but"):
            p.sample(2, torch.zeros(2, 3, dtype=torch.float64))
    else:
        with pytest.raises(ShapeError, match="context is missing; expected is one of shape"):
            p.sample(2)
        wrong = torch.zeros(2, *p.context_shape, 1, dtype=torch.float64)
        with pytest.raises(ShapeError, match="context has shape"):
            p.sample(2, wrong)

"""What SurjectiveModule does beyond every family: bounds, draws, reproducible noise."""

import math
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lightning_flows import (
    ComposedFlow,
    DensityModule,
    MixedFlow,
    RealNVP,
    Resampled,
    SurjectiveModule,
)
from lightning_flows.bases import ConditionalNormal
from lightning_flows.callbacks import ComponentExtraction, ReconstructionGrid, SampleGrid
from lightning_flows.core.errors import ConfigError
from lightning_flows.core.noise import Placed
from lightning_flows.datamodules import Digits, Toy
from lightning_flows.transforms import (
    Abs,
    Augment,
    Chain,
    Dequantize,
    ElementwiseAffine,
    InverseOf,
    Logit,
    Slice,
    Softplus,
    StochasticPermutation,
    VAELayer,
)

SMALL = partial(RealNVP, layers=2, hidden=(8,))
AUGMENTED = partial(ComposedFlow, layers=[partial(Augment, add=1), SMALL])


def bound(flow=AUGMENTED, shape=2, **options):
    """A flow of which the bound is not tight, in evaluation mode."""
    torch.manual_seed(0)
    model = SurjectiveModule(flow, shape, **{"iw_samples": 7, "chunk_size": 3, **options}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def points(n=50):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_the_bound_of_many_draws_rises_from_the_elbo_to_the_density():
    """One latent of a linear Gaussian model, of which the density is known."""

    affine = partial(ConditionalNormal, hidden=())
    layer = partial(VAELayer, latent_shape=1, encoder=affine, decoder=affine)
    model = SurjectiveModule(partial(ComposedFlow, layers=[layer]), 2, chunk_size=250).eval()
    slopes = torch.tensor([1.0, 0.5])
    decoder = model.flow.transform.transforms[0].decoder.density.net
    last = [part for part in decoder.modules() if isinstance(part, torch.nn.Linear)][-1]
    last.weight[:2, 0] = slopes  # means; standard deviations stay one
    covariance = torch.eye(2) + slopes[:, None] * slopes
    x = points(300)
    truth = torch.distributions.MultivariateNormal(torch.zeros(2), covariance).log_prob(x).mean()
    means = []
    for n in (1, 10, 500):
        model.iw_samples = n
        found = model.evaluate_test(x, None)
        means.append(found[f"iwbo_{n}"].mean())
        assert (found[f"iwbo_{n}"] >= found["elbo"] - 1e-5).all()
    assert means[0] < means[1] - 0.05
    assert means[1] < means[2] < truth + 0.005
    assert means[2] == pytest.approx(float(truth), abs=0.01)


@torch.no_grad()
@pytest.mark.parametrize("chunk_size", [1, 7])
def test_bounds_depend_on_the_data_alone(chunk_size):
    model, x = bound(), points()
    whole = model.evaluate_test(x, None)
    assert sorted(whole) == ["elbo", "iwbo_7", "loss"]
    state = torch.get_rng_state()
    model.chunk_size = chunk_size
    pieces = [model.evaluate_test(piece, None) for piece in x.split(7)]
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in whole.items():
        torch.testing.assert_close(torch.cat([piece[name] for piece in pieces]), value)
    twice = torch.cat([x, x])  # of equal rows each has its own draws, in any chunks
    weights = model.log_weights(twice, n=7)
    model.chunk_size = 3
    torch.testing.assert_close(model.log_weights(twice, n=7), weights)
    torch.testing.assert_close(weights[:50], model.log_weights(x, n=7))
    assert all(len(row.unique()) == 14 for row in torch.cat(weights.chunk(2), 1))
    torch.testing.assert_close(model.log_weights(x, n=3)[:, 0], model.log_prob(x))


@torch.no_grad()
def test_the_type_of_integers_does_not_matter_and_dequantization_is_drawn_anew():
    data = Digits()
    data.setup("fit")
    model = bound(shape=data.event_shape)
    model.preprocess = data.preprocess
    x = data.val_dataloader().tensors["x"][:5]
    assert x.dtype == torch.uint8
    assert torch.equal(model.log_prob(x), model.log_prob(x.float()))
    first = model.to_model_space(x)[0]
    with Resampled(1), model.noise_of(x):
        assert not torch.equal(model.to_model_space(x)[0], first)
    samples = model.sample(3)
    assert torch.equal(samples, samples.round())


@torch.no_grad()
def test_draws_of_conditional_data_see_their_context():
    flow = partial(ComposedFlow, layers=[partial(Augment, add=1), SMALL])
    model = bound(flow, context_shape=3)
    x, context = points(6), torch.randn(6, 3)
    weights = model.log_weights(x, context, n=4)
    for row in range(6):
        alone = model.log_weights(x[row : row + 1], context[row : row + 1], n=4)
        torch.testing.assert_close(weights[row : row + 1], alone)


@torch.no_grad()
def test_validation_draws_by_option():
    model, x = bound(iw_samples_val=4, iw_samples=0), points()
    assert sorted(model.evaluate(x, None)) == ["elbo", "iwbo_4", "loss"]
    assert list(model.evaluate_test(x, None)) == ["elbo", "loss"]


def test_options_out_of_range_are_refused():
    for name, value in (
        ("iw_samples", -1),
        ("iw_samples_val", -1),
        ("chunk_size", 0),
        ("noise", -1),
    ):
        with pytest.raises(ConfigError, match=f"{name} is {value}"):
            SurjectiveModule(AUGMENTED, 2, **{name: value})


def test_logged_bounds_and_their_errors_do_not_depend_on_the_batch_size(make_trainer):
    model, x = bound(), points(60).round()  # some rows more than once
    assert len(x.unique(dim=0)) < 30
    with torch.no_grad(), Placed(torch.arange(60)):
        values = model.evaluate_test(x, None)
    expected = {f"test/{name}": value.mean() for name, value in values.items()}
    for name in ("elbo", "iwbo_7"):
        expected[f"test/{name}_se"] = values[name].std() / 60**0.5
    for batch_size in (7, 50, 60):
        data = DataLoader(x, batch_size=batch_size)
        logged = make_trainer().test(model, data, verbose=False)[0]
        assert logged == pytest.approx({k: float(v) for k, v in expected.items()}, rel=1e-5)
        predicted = make_trainer().predict(model, data)
        with torch.no_grad(), Placed(torch.arange(60)):
            alone = model.log_prob(x)
        torch.testing.assert_close(torch.cat([batch["elbo"] for batch in predicted]), alone)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["categories", "integers"])
def test_standard_errors_are_the_spread_over_other_noise(kind, make_trainer):
    """1000 equal rows, where noise is all that varies: the spread of the mean over 40 draws."""
    if kind == "categories":
        inner = partial(RealNVP, layers=1, hidden=(4,))
        model, name = bound(partial(MixedFlow, classes=[3], flow=inner), 1, iw_samples=0), "elbo"
    else:
        torch.manual_seed(0)
        model, name = DensityModule(partial(ComposedFlow, layers=[ElementwiseAffine]), 1), "nll"
        model.preprocess = Chain([Dequantize(1, 3), Logit(1)])
    x = torch.ones(1000, 1)
    means, errors = [], []
    for draw in range(40):
        with Resampled(draw):
            loader = DataLoader(x, 300, num_workers=0)
            logged = make_trainer().test(model, loader, verbose=False)[0]
        means.append(logged[f"test/{name}"])
        errors.append(logged[f"test/{name}_se"])
    assert logged["test/bits_per_dim_se"] == pytest.approx(errors[-1] / math.log(2), rel=1e-5)
    assert len({*means}) == 40
    assert stdev(means) == pytest.approx(mean(errors), rel=0.45)  # 4 standard errors


def test_nothing_that_is_exact_has_a_standard_error(make_trainer):
    logged = make_trainer().test(DensityModule(SMALL, 2), DataLoader(points(), 7), verbose=False)[0]
    assert sorted(logged) == ["test/loss", "test/nll"]


SIGNS = [Abs, partial(InverseOf, layer=Softplus)]
SEEN = {
    "mirrored": [*SIGNS, SMALL],
    "reduced": [SMALL, partial(Slice, keep=1)],
    "augmented": [partial(Augment, add=1), SMALL],
    "autoencoder": [partial(VAELayer, latent_shape=1), SMALL],
}


@pytest.mark.parametrize("layers", SEEN.values(), ids=SEEN)
def test_pictures_and_components_of_surjections(layers, make_trainer):
    model = bound(partial(ComposedFlow, layers=layers))
    data = Toy("signed_rings", n_train=8, n_test=20)
    draw = [SampleGrid(8), ReconstructionGrid(8), ComponentExtraction(points=5)]
    found = []
    for _ in range(2):
        trainer = make_trainer(callbacks=draw)
        trainer.test(model, data, verbose=False)
        images = Path(trainer.default_root_dir) / "images"
        walks = model.kind == "generative surjection"  # the decoders of the others draw
        assert len([*images.rglob("*.png")]) == 5 + walks  # three of components without them
        with np.load(images / "components" / "test.npz") as arrays:
            found.append({name: torch.from_numpy(arrays[name]) for name in arrays})
    first, second = found
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=0, atol=0, equal_nan=True)
    assert first["scales"].isfinite().all()
    if model.kind == "inference surjection":  # at the point itself, not at one with its latent
        decoder = first["axes"].mT @ torch.diag_embed(first["scales"]) @ first["directions"]
        encoder = torch.func.vmap(torch.func.jacrev(lambda x: model.encode(x[None])[0]))
        torch.testing.assert_close(
            decoder, torch.linalg.pinv(encoder(first["points"])), rtol=1e-3, atol=1e-3
        )


def test_bits_per_dim_of_flows_that_reduce(make_trainer):
    data = Digits(test=20)
    halved = partial(ComposedFlow, layers=[SMALL, partial(Slice, keep=32)])
    for family in (SurjectiveModule, DensityModule):
        model = family(halved, data.event_shape)
        model.preprocess = data.preprocess
        logged = make_trainer().test(model, data, verbose=False)[0]
        bits = logged["test/nll"] / 64 / math.log(2)
        assert logged["test/bits_per_dim"] == pytest.approx(bits)


def test_a_stochastic_layer_trains_and_forgets_the_order(make_trainer):
    torch.manual_seed(0)
    data = Toy("sets", n_train=512, n_val=64, n_test=64, batch_size=128)
    flow = partial(ComposedFlow, layers=[StochasticPermutation, SMALL])
    model = SurjectiveModule(flow, 4, optimizer=partial(torch.optim.Adam, lr=0.01), iw_samples=200)
    trainer = make_trainer(max_epochs=1)
    trainer.validate(model, data, verbose=False)
    before = trainer.callback_metrics["val/elbo"]
    trainer = make_trainer(max_epochs=15)
    trainer.fit(model, data)
    assert trainer.callback_metrics["val/elbo"] > before + 0.1
    x = data.test_dataloader().tensors["x"][:20]
    with torch.no_grad():
        two = [model.eval().evaluate_test(y, None)["iwbo_200"] for y in (x, x.flip(1))]
        by_order = model.log_weights(x, n=200)
    assert (by_order.amax(1) - by_order.amin(1)).min() > 1  # what follows has its preferences
    torch.testing.assert_close(two[0], two[1], atol=0.5, rtol=0)

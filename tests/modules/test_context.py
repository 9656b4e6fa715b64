"""Context in its original units, whatever the flow sees of it."""

import math
import warnings
from functools import partial

import pytest
import torch
from module_cases import CASES
from torch.utils.data import DataLoader

from lightning_flows import (
    AutoregressiveSplineFlow,
    DensityModule,
    RealNVP,
)
from lightning_flows.callbacks.drawing.points import points_of
from lightning_flows.core.errors import ShapeError
from lightning_flows.core.noise import Placed
from lightning_flows.datamodules import Arrays, Digits
from lightning_flows.modules import InjectiveModule
from lightning_flows.modules.preprocessing import same
from lightning_flows.transforms import Standardize
from proofs.module_case import of_columns

DENSITY = CASES["density"].build
each_module = pytest.mark.parametrize("name", of_columns(CASES))


def table(scale=1.0, shift=0.0, dtype=torch.float32):
    """Three columns, and two of context."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(96, 5, generator=generator, dtype=torch.float64)
    rows[:, 3:] = rows[:, 3:] * torch.tensor([5.0, 30.0]) * scale + shift
    return rows.to(dtype)


def arrays(**options):
    return Arrays(data=table(**options), context=[3, 4], batch_size=48)


def trained(name, make_trainer, data=None):
    torch.manual_seed(0)
    model, data = CASES[name].build(3, context_shape=2), data or arrays()
    trainer = make_trainer(max_epochs=2, log_every_n_steps=1)
    trainer.fit(model, data)
    return model, data, trainer


@each_module
def test_every_path_standardizes_context_once(name, make_trainer, tmp_path):
    """Training, scoring and sampling, in a Trainer and out of it, see one and the same context."""
    model, data, trainer = trained(name, make_trainer)
    assert same(model.preprocess_context, data.preprocess_context)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = type(model).load_from_checkpoint(tmp_path / "x.ckpt").eval()
    # the same weights, and context that is standardized already
    plain = type(model).load_from_checkpoint(tmp_path / "x.ckpt").eval()
    plain.preprocess_context = None
    seen = []
    for part in (again, plain):
        x = data.test_dataloader().tensors["x"]
        given = data.test_dataloader().tensors["context"]
        context = given if part is again else data.preprocess_context.encode(given)[0]
        found = {"log_prob": part.log_prob(x, context), "z": part.encode(x, context)}
        torch.manual_seed(1)
        found["x"] = part.decode(found["z"], context)
        for score in ("evaluate", "evaluate_test"):
            found |= {f"{score}/{key}": v for key, v in getattr(part, score)(x, context).items()}
        if isinstance(part, InjectiveModule):
            found["ambient"] = part.ambient_log_prob(x, context)
        torch.manual_seed(1)
        found["sample"] = part.sample(3, context)
        torch.manual_seed(1)
        part.trainer = trainer
        loss, parts = part.train().training_loss(x, context)
        part.eval()
        found |= {"loss": loss, **{f"training/{key}": value for key, value in parts.items()}}
        maps = part.model_maps(context)
        found["maps"] = maps["encode"](x if maps["to_model"] is None else maps["to_model"](x))
        seen.append(found)
    for figure, value in seen[0].items():
        torch.testing.assert_close(value, seen[1][figure], msg=figure)
    far = again.log_prob(x, given + torch.tensor([5.0, 30.0]))
    assert (far - seen[0]["log_prob"]).abs().max() > 1e-4  # context matters


@each_module
def test_figures_of_a_test_are_those_of_the_loaded_model(name, make_trainer, tmp_path):
    model, data, trainer = trained(name, make_trainer)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = type(model).load_from_checkpoint(tmp_path / "x.ckpt").eval()
    logged = make_trainer().test(again, data, verbose=False)[0]
    (batch,) = data.test_dataloader()
    with torch.no_grad(), Placed(torch.arange(len(batch["x"]))):
        figures = again.eval().evaluate_test(batch["x"], batch["context"])
        scored = again.log_prob(batch["x"], batch["context"])
    assert {f"test/{figure}" for figure in figures} <= set(logged)
    for figure, value in figures.items():
        total = value.sum() if figure == "volume/failed" else value.mean()
        assert logged[f"test/{figure}"] == pytest.approx(float(total), rel=1e-4)
    (found,) = make_trainer().predict(again, data)
    torch.testing.assert_close(found["log_prob" if model.exact else "elbo"], scored)


@pytest.mark.parametrize("scale", [1.0, 5.0, 30.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_units_of_context_do_not_matter(scale, dtype, make_trainer):
    """The same run in other units gives the same densities; digits are kept beside 1.7e9."""
    model, _, _ = trained("density", make_trainer)
    shift = 1.7e9 if dtype == torch.float64 else 7.0
    data = arrays(scale=scale, shift=shift, dtype=dtype)
    other, _, _ = trained("density", make_trainer, data)
    x, context = table()[:, :3], table()[:, 3:]
    moved = table(scale=scale, shift=shift, dtype=dtype)[:, 3:]
    torch.testing.assert_close(
        other.log_prob(x, moved), model.log_prob(x, context), rtol=1e-3, atol=1e-3
    )
    torch.manual_seed(0)
    drawn = model.sample(2, context)
    torch.manual_seed(0)
    torch.testing.assert_close(other.sample(2, moved), drawn, rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("ignore:The data brings a preprocessing .Standardize")
@pytest.mark.filterwarnings("ignore:.*exists and is not empty")
def test_a_model_keeps_the_preprocessing_of_its_first_context(make_trainer, tmp_path):
    model, data, trainer = trained("density", make_trainer)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = DensityModule.load_from_checkpoint(tmp_path / "x.ckpt")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", message=".*(many workers|LeafSpec)")
        make_trainer().test(again, arrays(), verbose=False)
    other = arrays(scale=3.0, shift=1.0)
    with pytest.warns(UserWarning, match="a preprocessing of context .* the model keeps its own"):
        make_trainer(max_steps=1).fit(model, other)
    for each in (model, again):
        assert same(each.preprocess_context, data.preprocess_context)
    fresh = DENSITY(3, context_shape=2)
    with pytest.warns(UserWarning, match="of context .* has none, because it has not been trained"):
        make_trainer().test(fresh, arrays(), verbose=False)
    assert fresh.preprocess_context is None
    with pytest.warns(UserWarning, match="of context"):
        make_trainer(max_epochs=3).fit(fresh, other, ckpt_path=tmp_path / "x.ckpt")
    assert same(fresh.preprocess_context, data.preprocess_context)


def test_a_model_without_context_leaves_it_alone(make_trainer, tmp_path):
    model = DENSITY(3)
    trainer = make_trainer(max_steps=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", message=".*(many workers|LeafSpec)")
        trainer.fit(model, arrays())
    assert model.preprocess_context is None
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    assert torch.load(tmp_path / "x.ckpt", weights_only=True)["preprocess_context"] is None


def test_checkpoints_from_before_have_no_preprocessing_of_context(make_trainer, tmp_path):
    model, _, trainer = trained("density", make_trainer, Arrays(
        data=table(), context=[3, 4], standardize=False
    ))  # fmt: skip
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    content = torch.load(tmp_path / "x.ckpt", weights_only=True)
    del content["preprocess_context"]
    torch.save(content, tmp_path / "x.ckpt")
    again = DensityModule.load_from_checkpoint(tmp_path / "x.ckpt").eval()
    x, context = table()[:, :3], table()[:, 3:]
    assert torch.equal(again.log_prob(x, context), model.eval().log_prob(x, context))


def test_one_hot_context_is_not_standardized(make_trainer):
    data = Digits(context="one-hot", batch_size=64)
    model = DensityModule(partial(RealNVP, layers=1, hidden=(8,)), (1, 8, 8), 10)
    make_trainer(max_steps=1).fit(model, data)
    assert model.preprocess_context is None
    batch = next(iter(data.val_dataloader()))
    assert torch.equal(batch["context"].argmax(1), batch["label"])


def test_context_of_another_shape_is_refused_before_it_is_standardized():
    model = DENSITY(3, context_shape=2)
    model.preprocess_context = Standardize(2)
    with pytest.raises(ShapeError, match="context has shape"):
        model.log_prob(table()[:, :3], table()[:, 3:4])


def test_mappings_are_unpacked_by_name_and_tuples_in_order(make_trainer):
    x, context, label = table()[:, :3], table()[:, 3:], torch.arange(96)
    model = DENSITY(3, context_shape=2)
    for batch in (
        {"label": label, "context": context, "x": x},
        (x, context),
        [x, context, label],
    ):
        found = model.unpack(batch)
        assert torch.equal(found[0], x)
        assert torch.equal(found[1], context)
    with pytest.raises(ShapeError, match="the batch holds none"):
        model.unpack({"x": x, "label": context})  # even a label of the shape of the context
    assert DENSITY(3).unpack({"x": x, "context": context})[1] is None
    rows = [{"x": a, "context": b} for a, b in zip(x, context, strict=True)]
    trainer = make_trainer(max_steps=2, num_sanity_val_steps=0)
    trainer.fit(model, DataLoader(rows, 48), [DataLoader(rows, 48), arrays_loader()])
    values = trainer.validate(model, [DataLoader(rows, 48), arrays_loader()], verbose=False)
    assert len(values) == 2
    assert all(math.isfinite(value) for each in values for value in each.values())


def arrays_loader():
    data = arrays()
    data.setup()
    return data.test_dataloader()


@pytest.mark.parametrize("conditional", [True, False])
def test_points_take_turns_by_their_label_not_by_their_context(conditional):
    hot = torch.eye(2)
    items = [
        {"x": torch.tensor([float(i)]), "context": hot[i // 4], "label": i % 2} for i in range(8)
    ]
    points = points_of(items, 4, conditional=conditional)
    assert points.labels.tolist() == [0, 1, 0, 1]
    assert points.x[:, 0].tolist() == [0, 1, 2, 3]
    if conditional:
        assert torch.equal(points.context, hot[[0, 0, 0, 0]])
    without = [{name: item[name] for name in ("x", "context")} for item in items]
    assert points_of(without, 4, conditional=conditional).x[:, 0].tolist() == [0, 4, 1, 5]
    labeled = [{name: item[name] for name in ("x", "label")} for item in items]
    assert points_of(labeled, 4, conditional=False).labels.tolist() == [0, 1, 0, 1]


def test_a_spline_flow_of_one_column_is_conditional():
    flow = partial(AutoregressiveSplineFlow, layers=2, bins=4, hidden=(8,))
    model = DensityModule(flow, 1, context_shape=1)
    grid = torch.linspace(-9, 9, 4001)[:, None]
    for value in (-30.0, -1.0, 5.0):
        density = model.log_prob(grid, torch.full_like(grid, value)).detach().exp()
        mass = torch.trapezoid(density, grid[:, 0])
        assert float(mass) == pytest.approx(1, abs=1e-3)

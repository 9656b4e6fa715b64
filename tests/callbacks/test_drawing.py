import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from foreign import Cloud, Elsewhere, Foreign, drawing, loader, trainer
from jsonargparse import ArgumentParser
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

import lightning_flows.datamodules  # noqa: F401, so that Toy can be named shortly
from lightning_flows import callbacks as cb
from lightning_flows.core.errors import ConfigError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*module.s. in eval mode at the start"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
    pytest.mark.filterwarnings("ignore:Starting from v1.9.0"),
    pytest.mark.filterwarnings("ignore:.*val_dataloader"),
]

PLANE = (2,)


def images(root: Path) -> list[str]:
    folder = root / "images"
    return sorted(str(p.relative_to(folder).with_suffix("")) for p in folder.rglob("*.png"))


def fit(root: Path, module: Foreign, callbacks: list[pl.Callback], **options: Any) -> pl.Trainer:
    run = trainer(root, callbacks=callbacks, **options)
    run.fit(module, loader(module.shape), loader(module.shape))
    return run


def test_every_n_epochs_and_the_end_of_fit(tmp_path: Path) -> None:
    names = {"a": 2, "b": 0, "c": 3}
    grids = [cb.SampleGrid(4, every_n_epochs=n, name=name) for name, n in names.items()]
    fit(tmp_path, Foreign(PLANE), [*grids], max_epochs=3)
    assert images(tmp_path) == ["a/0002", "a/0003", "b/0003", "c/0003"]


def test_a_fit_that_stops_inside_an_epoch_is_drawn(tmp_path: Path) -> None:
    fit(tmp_path, Foreign(PLANE), [cb.SampleGrid(4)], max_steps=2, max_epochs=-1)
    assert len(images(tmp_path)) == 1


def test_validate_and_test_draw_and_log_the_dimension(tmp_path: Path) -> None:
    module, extraction = Foreign(PLANE), cb.ComponentExtraction(points=4, k=1, relative=0.0)
    run = trainer(tmp_path, callbacks=[extraction])
    assert run.validate(module, loader(PLANE), verbose=False)[0]["val/dimension"] == 2
    assert run.test(module, loader(PLANE), verbose=False)[0]["test/dimension"] == 2
    assert {"components/validate", "components/test"} <= set(images(tmp_path))


def test_tensorboard_gets_images_and_scalars_at_the_step_of_the_last_batch(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    fit(tmp_path, Foreign(PLANE), drawing(), logger=logger)
    assert "samples/0002" in images(Path(logger.log_dir))
    events = EventAccumulator(logger.log_dir).Reload()
    assert set(events.Tags()["images"]) == {
        "val/components", "val/components/dimension", "val/components/spectrum",
        "val/components/walks", "val/density", "val/reconstructions", "val/samples",
    }  # fmt: skip
    assert [event.step for event in events.Images("val/samples")] == [3, 7]
    assert [event.step for event in events.Scalars("val/dimension")] == [3, 7]
    assert [event.value for event in events.Scalars("val/dimension")] == [2.0, 2.0]
    assert [event.value for event in events.Scalars("train/skipped_steps")] == [0.0, 0.0]


def test_pictures_and_numbers_of_a_test_have_tags_of_their_own(tmp_path: Path) -> None:
    logger, module = TensorBoardLogger(tmp_path), Foreign(PLANE)
    foreign = cb.OutOfDistribution(Elsewhere(PLANE), points=8, every_n_epochs=1)
    iterative = cb.ComponentExtraction(points=4, k=1, walks=0, method="iterative", name="few")
    callbacks = [*drawing()[:4], foreign, iterative]
    run = fit(tmp_path, module, callbacks, logger=logger, max_epochs=1)
    run.test(module, loader(PLANE), verbose=False)
    events = EventAccumulator(logger.log_dir).Reload()
    tags = {f"{stage}/{tag}" for stage in ("val", "test") for tag in (
        "components", "components/dimension", "components/spectrum", "components/walks",
        "density", "reconstructions", "samples", "ood", "few", "few/spectrum",
    )}  # fmt: skip
    assert set(events.Tags()["images"]) == tags
    for tag in tags:
        assert len(events.Images(tag)) == 1
    scalars = set(events.Tags()["scalars"])
    assert {"val/dimension", "test/dimension", "val/nll", "test/nll"} <= scalars
    assert {"usage/component_products", "usage/test/component_products"} <= scalars
    for tag in scalars - {"epoch"}:  # no tag but Lightning's own holds one value of each
        assert len(events.Scalars(tag)) == 1, tag
    assert {"samples/0001", "samples/test"} <= set(images(Path(logger.log_dir)))


def test_a_csv_logger_gives_the_folder_and_no_trouble(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    fit(tmp_path, Foreign(PLANE), drawing(), logger=logger)
    assert "density/0002" in images(Path(logger.log_dir))


class ShowsImages(Logger):
    """A logger with the `log_image` of W&B."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root, self.seen = root, []

    name, version = "shows", 0
    save_dir = property(lambda self: str(self.root))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...

    def log_metrics(self, *args: Any, **kwargs: Any) -> None: ...

    def log_image(self, key: str, images: list[Any], step: int | None = None) -> None:
        self.seen.append((key, step, images[0].dtype.name, images[0].shape[2]))


def test_loggers_with_log_image_get_pixels(tmp_path: Path) -> None:
    logger = ShowsImages(tmp_path)
    fit(tmp_path, Foreign(), [cb.SampleGrid(4)], logger=logger, max_epochs=1)
    assert logger.seen == [("val/samples", 3, "uint8", 3)]


def test_an_error_is_one_warning_and_training_goes_on(tmp_path: Path) -> None:
    module = Foreign(PLANE)
    module.sample = lambda n: 1 / 0  # type: ignore[assignment, method-assign, misc, return-value]
    with pytest.warns(UserWarning, match="drew nothing: ZeroDivisionError") as record:
        run = fit(tmp_path, module, [cb.SampleGrid(4), cb.ReconstructionGrid(4)], max_epochs=3)
    assert len([w for w in record if "drew nothing" in str(w.message)]) == 1
    assert run.current_epoch == 3
    assert "reconstructions/0003" in images(tmp_path)


def test_data_that_cannot_be_indexed_is_said(tmp_path: Path) -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter([Cloud(PLANE)[0]] * 32)

    run = trainer(tmp_path, callbacks=[cb.SampleGrid(4)], max_epochs=1)
    with pytest.warns(UserWarning, match="neither has a data set that can be indexed"):
        run.fit(Foreign(PLANE), DataLoader(Stream(), batch_size=16))


@pytest.mark.parametrize(
    ("callback", "method"),
    [
        (cb.SampleGrid(), "sample(n)"),
        (cb.ReconstructionGrid(), "encode(x) and decode(z)"),
        (cb.ComponentExtraction(), "encode(x) and decode(z)"),
        (cb.DensityPlot(), "log_prob(x)"),
        (cb.MassCertificate(), "objective_nll(x)"),
    ],
)
def test_a_missing_method_is_named_at_setup(
    callback: cb.FlowCallback, method: str, tmp_path: Path
) -> None:
    run = trainer(tmp_path, callbacks=[callback])
    with pytest.raises(ConfigError) as error:
        run.fit(BoringModel())
    assert f"{type(callback).__name__} calls {method}, which BoringModel does" in str(error.value)


def test_two_callbacks_may_not_write_to_one_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Two callbacks write to images/samples"):
        fit(tmp_path, Foreign(PLANE), [cb.SampleGrid(4), cb.SampleGrid(8)])


def test_samples_depend_on_seed_and_model_alone(tmp_path: Path) -> None:
    def samples(folder: str, **options: Any) -> Tensor:
        torch.manual_seed(hash(folder) % 1000)
        options = {"n": 20, "name": folder, **options}
        fit(tmp_path, Foreign(PLANE, lr=0.0), [cb.SampleGrid(**options)], max_epochs=1)
        with np.load(tmp_path / "images" / folder / "0001.npz") as arrays:
            return torch.as_tensor(arrays["samples"])

    assert torch.equal(samples("a"), samples("b"))
    assert torch.equal(samples("c", n=16), samples("a")[:16])
    assert not torch.equal(samples("d", seed=1), samples("a"))
    assert len(samples("a").unique(dim=0)) == 20  # chunks differ


class Conditional(Foreign):
    """Shifts by its context."""

    context_shape = (2,)

    def sample(self, n: int, context: Tensor, temperature: float = 1.0) -> Tensor:
        noise = temperature * torch.randn(len(context), n, 2)
        return noise + context[:, None]

    def encode(self, x: Tensor, context: Tensor) -> Tensor:
        return x - context

    def decode(self, z: Tensor, context: Tensor) -> Tensor:
        return z + context

    def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        return -(x - context).square().sum(1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.matrix.sum()


class WithContext(Dataset[Any]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        point = torch.tensor([float(index), 0.0])
        return {"x": point, "context": 10 * point}


def test_a_conditional_module_gets_the_context_of_the_points(tmp_path: Path) -> None:
    grid = cb.SampleGrid(12, temperature=0.0)
    run = trainer(tmp_path, callbacks=[grid, *drawing()[1:]], max_epochs=1)
    run.fit(Conditional(PLANE), DataLoader(WithContext(), batch_size=8))
    with np.load(tmp_path / "images" / "samples" / "0001.npz") as arrays:
        np.testing.assert_array_equal(arrays["samples"][:, 0], 10.0 * (np.arange(12) % 8))
    with np.load(tmp_path / "images" / "density" / "0001.npz") as arrays:
        expected = -np.square(arrays["grid"]).sum(-1)  # the context of point 0 is 0
        np.testing.assert_allclose(arrays["log_prob"], expected, rtol=1e-5)
    assert len(images(tmp_path)) == 7


def test_points_take_turns_among_classes_and_components_are_those_of_the_module(
    tmp_path: Path,
) -> None:
    module = Foreign(PLANE, lr=0.0)
    fit(tmp_path, module, [cb.ComponentExtraction(points=4, k=2)], max_epochs=1)
    data = Cloud(PLANE)
    with np.load(tmp_path / "images" / "components" / "0001.npz") as arrays:
        np.testing.assert_array_equal(arrays["points"], data.x[:4])  # first 16 are of one class
        u, s, _ = torch.linalg.svd(module.matrix.detach())
        np.testing.assert_allclose(arrays["scales"], s.expand(4, 2), rtol=1e-5)
        cosines = np.abs(np.einsum("nkd,dk->nk", arrays["axes"], u.numpy()))
        np.testing.assert_allclose(cosines, 1, atol=1e-5)
        np.testing.assert_allclose(arrays["reconstructed"], data.x[:4], rtol=1e-4, atol=1e-5)
    fit(tmp_path, module, [cb.ReconstructionGrid(8, name="turns")], max_epochs=1)
    with np.load(tmp_path / "images" / "turns" / "0001.npz") as arrays:
        np.testing.assert_array_equal(arrays["x"], data.x[[0, 16, 1, 17, 2, 18, 3, 19]])


@pytest.mark.parametrize("shape", [(1,), (3,), (5,), (2, 4), (3, 4, 4)])
def test_events_of_any_shape_are_drawn(shape: tuple[int, ...], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*(LeafSpec|many workers|eval mode|jit.script)")
        fit(tmp_path, Foreign(shape), drawing()[:3], max_epochs=1)
    walks = shape in ((2,), (3,), (3, 4, 4))
    assert len(images(tmp_path)) == 5 + walks


def test_a_datamodule_may_say_what_an_image_is(tmp_path: Path) -> None:
    class Data(pl.LightningDataModule):
        def train_dataloader(self) -> DataLoader[Any]:
            return loader((16,))

        def to_image(self, x: Tensor) -> Tensor:
            return x.view(-1, 1, 4, 4).sigmoid()

    run = trainer(tmp_path, callbacks=drawing()[:3], max_epochs=1)
    run.fit(Foreign((16,)), datamodule=Data())
    assert len(images(tmp_path)) == 6


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: cb.SampleGrid(0),
        lambda: cb.SampleGrid(temperature=-1),
        lambda: cb.SampleGrid(every_n_epochs=-1),
        lambda: cb.DensityPlot(1),
        lambda: cb.DensityPlot(margin=-0.1),
        lambda: cb.ComponentExtraction(k=0),
        lambda: cb.ComponentExtraction(tikhonov=-1),
        lambda: cb.ComponentExtraction(walks=-1),
        lambda: cb.ComponentExtraction(budget=0),
        lambda: cb.ComponentExtraction(method="fast"),
        lambda: cb.MassCertificate(1),
        lambda: cb.MassCertificate(points=0),
        lambda: cb.MassCertificate(repeats=1),
        lambda: cb.NonFiniteGuard(0),
    ],
)
def test_options_out_of_range_are_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(ConfigError, match="accepted are"):
        wrong()


def pickable():
    """Callbacks that a user names; what they are made of is exported, too."""
    for name in cb.__all__:
        value = getattr(cb, name)
        if isinstance(value, type) and issubclass(value, pl.Callback) and value != cb.FlowCallback:
            yield name


@pytest.mark.parametrize("name", [*pickable()])
def test_the_command_line_knows_and_explains_every_option(name: str) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(getattr(cb, name), "callback")
    required = ["--callback.data=Toy"] if name == "OutOfDistribution" else []
    config = parser.parse_string(parser.dump(parser.parse_args(required)))
    getattr(cb, name)(**config.callback.as_dict())
    for action in parser._actions:
        if action.dest.startswith("callback."):
            assert action.help, action.dest

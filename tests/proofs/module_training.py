"""What every module is held to in a Trainer."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import lightning.pytorch as pl
import numpy as np
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from torch.utils.data import DataLoader

from lightning_flows import cli, load
from lightning_flows.modules import FlowModule
from proofs.common import Proofs, near, same
from proofs.module_case import ModuleCase, fit, made, rows, trainer
from resumed import check_resumed, resume

PROOFS = Proofs()


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


# -- precisions ------------------------------------------------------------------------------------


def trains_in(precision: str, case: ModuleCase) -> None:
    """With gradients clipped."""
    options: dict[str, Any] = {"precision": precision}
    if precision == "16-mixed":  # Lightning's own scaler is that of CUDA
        scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
        options = {"plugins": [MixedPrecision("16-mixed", "cpu", scaler)]}
    model, run = fit(
        case,
        gradient_clip_val=1.0,
        max_epochs=2,
        limit_train_batches=4,
        limit_val_batches=1,
        **options,
    )
    assert all(value.isfinite() for value in run.callback_metrics.values())
    tested = run.test(model, case.data(batch_size=16), verbose=False)[0]
    assert all(value == value for value in tested.values())
    before = made(case)[0].parameters()
    moved = [not torch.equal(a.to(b), b) for a, b in zip(before, model.parameters(), strict=True)]
    assert any(moved)
    assert run.optimizers[0].defaults["fused"] == ("mixed" not in precision)


@PROOFS.add()
def trains_in_half_precision(case: ModuleCase) -> None:
    trains_in("bf16-true", case)


@PROOFS.add(slow=True)
def trains_in_mixed_precision(case: ModuleCase) -> None:
    trains_in("bf16-mixed", case)


@PROOFS.add(slow=True)
def trains_with_a_scaler_of_the_loss(case: ModuleCase) -> None:
    trains_in("16-mixed", case)


@PROOFS.add(slow=True)
def trains_in_double_precision(case: ModuleCase) -> None:
    trains_in("64-true", case)


@PROOFS.add(slow=True)
def compiles_without_validation_data(case: ModuleCase) -> None:
    """As in a process that has called no flow before."""
    torch.compiler.reset()
    with (
        warnings.catch_warnings(),
        mock.patch("torch.compile", partial(torch.compile, backend="eager")),
    ):
        warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")
        model, data = made(case, compile=True)
        data.setup()
        run = trainer(max_steps=2, callbacks=case.callbacks())
        run.fit(model, data.train_dataloader())
    assert run.callback_metrics["train/loss"].isfinite()
    torch.compiler.reset()


# -- data of one's own -----------------------------------------------------------------------------


@PROOFS.add(when=lambda case: case.context, slow=True)
def batches_have_keys_of_their_own(case: ModuleCase) -> None:
    x = rows(case)[0][:32]
    context = torch.randn(32, 3)
    items = [
        {"image": each, "given": beside, "x": 0} for each, beside in zip(x, context, strict=True)
    ]
    model = case.build(x.shape[1:], context_shape=3, data_key="image", context_key="given")
    run = trainer()
    run.fit(model, DataLoader(items, 16), DataLoader(items, 16))
    assert run.callback_metrics["val/loss"].isfinite()
    with folder() as root:
        run.save_checkpoint(root / "x.ckpt")
        again = load(root / "x.ckpt")
    found, beside = again.unpack({"image": x, "given": context})
    same((found, beside), (x, context))


@PROOFS.add(when=lambda case: case.context, slow=True)
def trains_on_data_of_another_type(case: ModuleCase) -> None:
    x = rows(case)[0][:32]
    for dtype in (torch.float64, torch.int64, torch.uint8, torch.float16):
        pair = (x.abs() if dtype == torch.uint8 else x).to(dtype), torch.ones(32, 3, dtype=dtype)
        loader = DataLoader(torch.utils.data.TensorDataset(*pair), 16)
        model, run = case.build(x.shape[1:], context_shape=3), trainer(max_steps=2)
        run.fit(model, loader, loader)
        assert run.callback_metrics["val/loss"].isfinite()


# -- checkpoints -----------------------------------------------------------------------------------


@PROOFS.add(slow=True)
def a_checkpoint_alone_is_the_model(case: ModuleCase) -> None:
    model, run = fit(case, max_steps=3, limit_val_batches=1)
    x, context = rows(case, "test")
    with folder() as root:
        run.save_checkpoint(root / "x.ckpt")
        found = [
            load(root / "x.ckpt"),
            type(model).load_from_checkpoint(root / "x.ckpt", weights_only=True),
        ]
    for again in found:
        assert type(again) is type(model)
        assert dict(again.hparams) == dict(model.hparams)
        same(again.state_dict(), model.state_dict())
        for each in (model, again):
            each.eval()  # where noise depends on the data alone
        same(again.log_prob(x, context), model.log_prob(x, context))
        same(again.encode(x, context), model.encode(x, context))


@PROOFS.add(slow=True)
def a_resumed_run_is_the_run(case: ModuleCase) -> None:
    with folder() as root:
        resume(root, case, 1)
        check_resumed(root, 1)


@PROOFS.add(slow=True)
def a_checkpoint_of_the_last_batch_of_an_epoch_goes_on_as_the_run(case: ModuleCase) -> None:
    """From there Lightning calls no hook at the start of the next epoch."""
    with folder() as root:

        def run(path: Path | None) -> dict[str, Any]:
            model, data = made(case)
            pl.seed_everything(3, verbose=False)
            saves = ModelCheckpoint(root, filename="{step}", every_n_train_steps=2, save_top_k=-1)
            callbacks = [*case.callbacks(), saves]
            options = {"max_epochs": 3, "limit_train_batches": 2, "enable_checkpointing": True}
            trainer(callbacks=callbacks, **options).fit(model, data, ckpt_path=path)
            return dict(model.state_dict())

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Checkpoint directory")
            whole = run(None)
            same(run(root / "step=2.ckpt"), whole)


# -- the command line ------------------------------------------------------------------------------


def described(part: Any) -> dict[str, Any]:
    """A model or data module as a config has it; shapes are linked."""
    options = {
        k: v for k, v in dict(part.hparams).items() if k not in ("event_shape", "context_shape")
    }
    return {
        "class_path": f"{type(part).__module__}.{type(part).__qualname__}",
        "init_args": options,
    }


def shapes(model: FlowModule) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in model.flow.state_dict().items()}


@PROOFS.add(slow=True)
def fits_tests_and_predicts_on_the_command_line(case: ModuleCase) -> None:
    """And the checkpoint alone gives the figures and the predictions."""
    model, data = made(case)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    short = {"max_epochs": 2, "limit_train_batches": 3, "limit_val_batches": 1}
    config = {
        "model": described(model),
        "data": described(data),
        "trainer": {**quiet, **short},
        "pictures": False,
        "seed_everything": 1,
    }
    with folder() as root, chdir(root), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Lightning and jsonargparse
        Path("config.yaml").write_text(yaml.safe_dump(config))
        fitted = cli.main(["fit", "--config=config.yaml"]).model
        assert type(fitted) is type(model)
        assert shapes(fitted) == shapes(model)
        (last,) = root.rglob("last.ckpt")
        tested = cli.main(["test", f"--ckpt_path={last}"]).trainer.callback_metrics
        cli.main(["predict", f"--ckpt_path={last}"])
        (path,) = root.rglob("predictions.npz")
        again, data = load(last), case.data(batch_size=16)
        found = trainer().test(again, data, verbose=False)[0]
        assert set(tested) == set(found)
        for name, value in found.items():
            near(float(tested[name]), value, 1e-5)
        batches = trainer().predict(again, data)
        with np.load(path) as arrays:
            assert {"latent", "log_prob" if again.exact else "elbo"} <= set(arrays)
            for name, value in arrays.items():
                near(torch.as_tensor(value), torch.cat([batch[name] for batch in batches]), 1e-5)

"""The command line, in process: runs, their folders and checkpoints, and parts from YAML."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import ProgressBar

from command_lines import DEBUG, run_folder, small
from lightning_flows import DensityModule, FreeFormModule, cli
from lightning_flows.cli.runs import run_of
from lightning_flows.datamodules import Toy

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and jsonargparse


def test_predictions_of_all_batches_are_in_the_order_of_the_data(trained, here, capsys):
    _, checkpoint = trained
    done = cli.main(small("predict", "--data.standardize=true", f"--ckpt_path={checkpoint}"))
    path = run_of(checkpoint) / "predictions.npz"
    assert f"Latents and log-densities: {path}\n" in capsys.readouterr().out
    model = DensityModule.load_from_checkpoint(checkpoint)
    x = Toy("moons", n_test=100, seed=done.datamodule.seed).load()["test"]["x"]
    with np.load(path) as arrays:
        assert arrays["latent"].shape == (100, 2)
        np.testing.assert_allclose(arrays["log_prob"], model.log_prob(x).detach(), atol=1e-6)
        np.testing.assert_allclose(arrays["latent"], model.encode(x).detach(), atol=1e-6)


def test_a_checkpoint_reloads_alone_and_to_the_bit(trained):
    done, checkpoint = trained
    again = DensityModule.load_from_checkpoint(checkpoint, weights_only=True)
    x = torch.randn(50, 2)
    assert torch.equal(again.log_prob(x), done.model.log_prob(x))
    assert torch.equal(again.preprocess.mean, done.datamodule.preprocess.mean)
    assert torch.load(checkpoint, weights_only=True)["hyper_parameters"]["event_shape"] == [2]


def test_resuming(trained):
    done, checkpoint = trained
    resumed = cli.main(
        small(
            "fit", "--data.standardize=true", f"--ckpt_path={checkpoint}", "--trainer.max_epochs=3"
        )
    )
    assert resumed.trainer.current_epoch == 3
    assert resumed.trainer.global_step == 3 * done.trainer.global_step


@pytest.mark.parametrize(
    "scheduler",
    [
        {"class_path": "torch.optim.lr_scheduler.CosineAnnealingLR", "init_args": {"T_max": 5}},
        {"class_path": "torch.optim.lr_scheduler.ReduceLROnPlateau", "init_args": {"patience": 0}},
        {
            "class_path": "lightning.pytorch.cli.ReduceLROnPlateau",
            "init_args": {"monitor": "val/nll", "factor": 0.5},
        },
    ],
    ids=["cosine", "plateau", "plateau of Lightning"],
)
def test_optimizer_and_scheduler_from_yaml(scheduler, here):
    optimizer = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01, "fused": True}}
    config = {"model": {"init_args": {"optimizer": optimizer, "scheduler": scheduler}}}
    Path("own.yaml").write_text(yaml.safe_dump(config))
    done = cli.main(small("fit", "--config=own.yaml", "--trainer.max_epochs=2"))
    (made,) = done.trainer.optimizers
    assert isinstance(made, torch.optim.AdamW)
    assert made.defaults["lr"] == 0.01
    (plan,) = done.trainer.lr_scheduler_configs
    name = scheduler["class_path"].rpartition(".")[2]
    assert type(plan.scheduler).__name__ == name
    if name == "ReduceLROnPlateau":
        assert plan.monitor == scheduler["init_args"].get("monitor", "val/loss")
    again = DensityModule.load_from_checkpoint(run_folder(here) / "checkpoints" / "last.ckpt")
    assert type(again.configure_optimizers()["lr_scheduler"]["scheduler"]).__name__ == name


def test_runs_lie_below_the_root_folder_unless_the_logger_says_where(here):
    one_step = ["--trainer.max_steps=1", "--trainer.limit_val_batches=1"]
    cli.main(small("fit", "--trainer.default_root_dir=root", *one_step))
    saved = Path("root/runs/moons-realnvp/version_0/config.yaml")
    assert yaml.safe_load(saved.read_text())["trainer"]["default_root_dir"] == "root"
    cli.main(["fit", f"--config={saved}"])
    assert Path("root/runs/moons-realnvp/version_1/checkpoints/last.ckpt").is_file()
    own = ["--trainer.default_root_dir=other", "--trainer.logger.save_dir=own"]
    cli.main(small("fit", *own, *one_step))
    assert Path("own/moons-realnvp/version_0/checkpoints/last.ckpt").is_file()
    assert not Path("other").exists()
    assert not Path("runs").exists()


def test_the_seed_decides_about_weights_and_nothing_else_does(here):
    options = ["--trainer.fast_dev_run=1"]
    first, again, other = (
        cli.main(small("fit", f"--seed_everything={seed}", *options)).model.state_dict()
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_logging_at_no_step(here):
    options = ["--model=RectangularModule", "--model.flow=PaddedFlow"]
    options += ["--model.flow.latent_features=1", "--trainer.log_every_n_steps=0"]
    done = cli.main(small("fit", *options, "--trainer.fast_dev_run=1"))
    assert done.trainer.global_step == 1


@pytest.mark.parametrize(
    ("options", "bar"),
    [([], "RichProgressBar"), (["--trainer.callbacks=TQDMProgressBar"], "TQDMProgressBar")],
    ids=["ours", "another"],
)
def test_there_is_one_progress_bar(options, bar, here):
    args = [option for option in small("fit", *options) if "progress_bar" not in option]
    done = cli.main([*args, "--trainer.fast_dev_run=1"])
    (found,) = (part for part in done.trainer.callbacks if isinstance(part, ProgressBar))
    assert type(found).__name__ == bar
    assert found.refresh_rate == 1


def test_one_callback_without_a_list(here):
    done = cli.main(small("fit", "--trainer.callbacks=NonFiniteGuard"))
    assert "NonFiniteGuard" in {type(callback).__name__ for callback in done.trainer.callbacks}


JOINT = """
model:
  class_path: FreeFormModule
  init_args:
    flow:
      class_path: FreeFormFlow
      init_args:
        latent_features: 1
        encoder: {class_path: lightning_flows.nets.MLPEncoder, init_args: {hidden: [8]}}
        decoder: {class_path: lightning_flows.nets.MLPDecoder, init_args: {hidden: [8]}}
    volume: {class_path: FreeFormVolume, init_args: {target: probe, probes: 2}}
    reconstruction: {class_path: TargetError, init_args: {target: 0.5}}
    penalties:
      - {class_path: Tikhonov, init_args: {weight: 0.1}}
      - {class_path: Isometry, init_args: {weight: 0.2, probes: 3}}
"""


def test_volume_and_penalties_from_yaml_and_back(here):
    Path("joint.yaml").write_text(JOINT)
    options = [option for option in small("fit") if "--model" not in option]
    done = cli.main([*options, "--config=joint.yaml"])
    path = run_folder(here) / "checkpoints" / "last.ckpt"
    again = FreeFormModule.load_from_checkpoint(path, weights_only=True)
    x = torch.randn(50, 2)
    assert torch.equal(again.log_prob(x), done.model.log_prob(x))
    assert again.beta == done.model.beta != 50
    assert (again.volume.target, again.volume.probes) == ("probe", 2)
    assert [type(part).__name__ for part in again.penalties] == ["Tikhonov", "Isometry"]
    assert [part.weight for part in again.penalties] == [0.1, 0.2]
    assert type(again.flow.encoder).__name__ == "MLPEncoder"


def test_checkpoints_can_be_switched_off(here):
    options = ["--model=DensityModule", "--model.flow=RealNVP", "--model.flow.layers=1"]
    options += ["--data=Toy", "--data.n_train=64", "--data.n_val=32"]
    done = cli.main(["fit", *options, *DEBUG, "--trainer.enable_checkpointing=false"])
    assert done.trainer.checkpoint_callbacks == []
    assert done.trainer.callback_metrics["val/loss"].isfinite()
    assert not [*here.rglob("*.ckpt")]

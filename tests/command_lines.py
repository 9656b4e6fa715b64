"""Command lines that the tests of the CLI share."""

from pathlib import Path

import numpy as np
import pytest

from image_files import write_images
from lightning_flows import cli
from lightning_flows.cli import commands
from manifold_files import write_earth, write_torsion

CONFIGS = Path(__file__).parents[1] / "configs"
DEBUG = ["--config", str(CONFIGS / "trainer" / "debug.yaml"), "--trainer.accelerator=cpu"]


def small(subcommand, *options):
    """A small model of the moons."""
    return [
        subcommand,
        "--model=DensityModule",
        "--model.flow=RealNVP",
        "--model.flow.layers=2",
        "--model.flow.hidden=[8]",
        "--data=Toy",
        "--data.n_train=200",
        "--data.n_test=100",
        "--data.batch_size=32",
        "--seed_everything=1",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
        "--pictures=false",
        "--trainer.max_epochs=1",
        *options,
    ]


def run_folder(here, version=0):
    (folder,) = here.glob(f"runs/*/version_{version}")
    return folder


def train(folder):
    """A run of the moons: its CLI object and its last checkpoint."""
    done = cli.main(
        [*small("fit"), "--data.standardize=true", f"--trainer.logger.save_dir={folder}/runs"]
    )
    return done, run_folder(folder) / "checkpoints" / "last.ckpt"


def write_few_data(folder):
    """Files of MNIST and of tables in their formats, with some images and rows in them."""
    write_images(folder, "MNIST", train=300, t10k=64)
    write_earth(folder)
    write_torsion(folder)
    (folder / "FashionMNIST").symlink_to("MNIST")
    random = np.random.default_rng(0)
    (folder / "miniboone").mkdir()
    np.save(folder / "miniboone" / "data.npy", random.normal(size=(400, 43)))
    np.savez(folder / "power_plant.npz", data=random.normal(size=(400, 5)))
    (folder / "uci_small").mkdir()
    energy = random.normal(size=(480, 9))
    for column, classes in {0: 12, 5: 4, 6: 4, 7: 6}.items():
        energy[:, column] = random.permutation(480) % classes
    np.savez(folder / "uci_small" / "energy.npz", data=energy)
    return folder


def said(args, capsys, main=cli.main):
    """Status of a command line that fails, and its one sentence, without notes of Lightning."""
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert main is cli.main or out == ""
    assert "Traceback" not in err
    assert len(lines) == 1
    assert err.splitlines()[-1] == lines[0]
    return stop.value.code, lines[0]


def command_said(args, capsys, status=1):
    """The one sentence of a command that needs no Trainer; status 2 is an unknown option."""
    code, line = said(args, capsys, commands.main)
    assert code == status
    return line

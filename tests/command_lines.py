"""Command lines that the tests of the CLI share."""

from lightning_flows import cli


def small(subcommand, *options):
    """A small model of the moons."""
    return [
        subcommand,
        "--model=DensityFlow",
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
        "--trainer.max_epochs=1",
        *options,
    ]


def run_folder(here, version=0):
    (folder,) = here.glob(f"runs/*/version_{version}")
    return folder


def train(folder):
    """A run of the moons: its CLI object and its last checkpoint."""
    done = cli.main(
        [*small("fit"), "--data.standardise=true", f"--trainer.logger.save_dir={folder}/runs"]
    )
    return done, run_folder(folder) / "checkpoints" / "last.ckpt"

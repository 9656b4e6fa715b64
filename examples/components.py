"""Draw the components of digits, walks along them, and their spectrum.

    python examples/components.py --out docs/images

Trains the flow of the demo: a minute or two on one core. The same pictures come from any checkpoint
with `lightning-flows components`.
"""

import argparse
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from lightning_flows import cli
from lightning_flows.callbacks import ComponentExtraction
from lightning_flows.cli.commands import components as extract

CONFIG = Path(__file__).parents[1] / "configs" / "digits" / "rectangular.yaml"


def digits(root: Path, out: Path) -> None:
    """Train the rectangular flow of the demo, and draw its components and walks."""
    options = [
        "--trainer.callbacks=null",
        "--pictures=false",
        "--trainer.enable_progress_bar=false",
    ]
    run = cli.main(["fit", f"--config={CONFIG}", f"--trainer.logger.save_dir={root}", *options])
    checkpoint = Path(run.trainer.checkpoint_callback.best_model_path)
    extract(checkpoint, root / "digits", extraction=ComponentExtraction(10, k=6, walks=2))
    for name, picture in {
        "digits": "components",
        "strips": "walks",
        "spectrum": "spectrum",
    }.items():
        shutil.copy(root / "digits" / f"{picture}.png", out / f"components-{name}.png")


def main() -> None:
    """Train and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        digits(Path(folder), options.out)


if __name__ == "__main__":
    main()

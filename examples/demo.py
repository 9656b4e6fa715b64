"""Train a rectangular flow on handwritten digits, test it, and say what came out.

The same as these two commands, with a table at the end:

    lightning-flows fit --config configs/digits/rectangular.yaml
    lightning-flows test --config configs/digits/rectangular.yaml --ckpt_path <best>
"""

import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lightning_flows.cli.command_line import main

CONFIG = Path(__file__).parents[1] / "configs" / "digits" / "rectangular.yaml"
ROWS = {
    "test/nll": "negative log-likelihood on the manifold (nats)",
    "test/reconstruction": "squared reconstruction error (logit space)",
    "test/log_volume": "log-volume of the manifold's chart (nats)",
    "test/dimension": "intrinsic dimension",
}


def demo() -> None:
    """Fit, test and report."""
    start = time.perf_counter()
    cli = main(["fit", "--config", str(CONFIG)])
    folder = Path(cli.trainer.log_dir)
    best = cli.trainer.checkpoint_callback.best_model_path
    results = cli.trainer.test(cli.model, cli.datamodule, ckpt_path=best, verbose=False)[0]
    seconds = time.perf_counter() - start

    table = Table(title=f"RectangularModule on digits, {seconds:.0f} s")
    table.add_column("result")
    table.add_column("value", justify="right")
    for name, words in ROWS.items():
        table.add_row(words, f"{results[name]:.2f}")
    console = Console()
    console.print(table)
    console.print("Pictures:")
    for path in sorted(folder.glob("images/**/test.png")):
        console.print(f"  {path}", soft_wrap=True)
    console.print(f"Checkpoint:\n  {best}")
    console.print(f"Training curves:\n  .venv/bin/tensorboard --logdir {folder.parent}")


if __name__ == "__main__":
    demo()

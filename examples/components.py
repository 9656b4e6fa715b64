"""Draw components: those of a surface in space, its noise floor, and digits.

    python examples/components.py --out docs/images

Trains four small flows on the surface and one on digits: some minutes on one core. The same
pictures come from any checkpoint with `lightning-flows components`.
"""

import argparse
import math
import shutil
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning.pytorch as L
import torch
from lightning_flows.callbacks import ComponentExtraction
from lightning_flows.datamodules import Toy

from lightning_flows import DensityFlow, RealNVP, cli
from lightning_flows.commands import components as extract
from lightning_flows.jacobians import components
from lightning_flows.plots.canvas import ACCENT, DATA, MODEL, figure, plain, save_png, title

CONFIG = Path(__file__).parents[1] / "configs" / "digits" / "rectangular.yaml"
ALPHA = 1e-3
EVERY = 100  # steps between two looks at a flow in training
WAYS: dict[str, dict[str, float]] = {
    "nothing": {},
    "Tikhonov, α = 0.001": {"tikhonov": ALPHA},
    "noise, σ² = 2α": {"noise": math.sqrt(2 * ALPHA)},
}
COLOURS = (DATA, ACCENT, MODEL)


class Watch(L.Callback):
    """Keeps the likelihood of clean data and the median variances while a flow learns."""

    def __init__(self, x: torch.Tensor) -> None:
        self.x = x
        self.steps: list[int] = []
        self.nll: list[float] = []
        self.variances: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        """Look at the flow now and then."""
        if trainer.global_step % EVERY:
            return
        with torch.no_grad():
            found = components(pl_module.encode, pl_module.decode, self.x)
            self.nll.append(-pl_module.log_prob(self.x).mean().item())
        self.steps.append(trainer.global_step)
        self.variances.append(found.scales.square().median(0).values)


def learn(root: Path, data: Toy, steps: int, **options: float) -> tuple[L.Trainer, Watch]:
    """Train a flow on the surface."""
    L.seed_everything(0, verbose=False)
    flow = partial(RealNVP, layers=6, hidden=(48, 48), activation="tanh")
    model = DensityFlow(flow, data.event_shape, **options)
    watch = Watch(data.load()["val"][0][:256])
    trainer = L.Trainer(
        accelerator="cpu", max_steps=steps, logger=False, enable_checkpointing=False,
        callbacks=[watch], default_root_dir=root, gradient_clip_val=10, limit_val_batches=0,
        num_sanity_val_steps=0, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, data)
    return trainer, watch


def surface(root: Path, out: Path, steps: int) -> None:
    """Train on an S-curve in space with a Tikhonov term, and draw its components."""
    data, checkpoint = Toy("s_curve"), root / "surface.ckpt"
    trainer, _ = learn(root, data, steps, tikhonov=ALPHA)
    trainer.save_checkpoint(checkpoint)
    extraction = ComponentExtraction(24, k=3, walks=5, tikhonov=ALPHA)
    extract(checkpoint, root / "surface", extraction=extraction, data=data)
    for name, picture in {"surface": "components", "walks": "walks"}.items():
        shutil.copy(root / "surface" / f"{picture}.png", out / f"components-{name}.png")
    many = ComponentExtraction(256, walks=0, tikhonov=ALPHA)
    extract(checkpoint, root / "many", extraction=many, data=data)
    for name in ("spectrum", "dimension"):
        shutil.copy(root / "many" / f"{name}.png", out / f"components-surface-{name}.png")


def floor(root: Path, out: Path, steps: int) -> None:
    """Train with and without a floor; draw likelihood and variance while the flows learn."""
    watches = {}
    for way, options in WAYS.items():
        _, watch = learn(root, Toy("s_curve"), steps, **options)
        watches[way] = watch
        print(f"{way}: {watch.nll[-1]:.3f} nats, median variances {watch.variances[-1].tolist()}")
    curves(watches, out / "components-floor.png")


def curves(watches: dict[str, Watch], path: Path) -> None:
    """Likelihood, and variance along the last component."""
    drawing = figure(7.0, 2.7, pad=0.05)
    likelihood, variance = drawing.subplots(1, 2)
    for (way, watch), colour in zip(watches.items(), COLOURS, strict=True):
        likelihood.plot(watch.steps, watch.nll, color=colour, lw=1.5, label=way)
        last = [float(variances[-1]) for variances in watch.variances]
        variance.plot(watch.steps, last, color=colour, lw=1.5)
    variance.axhline(2 * ALPHA, color="black", lw=0.8, ls="--")
    variance.annotate("2α", (0, 2 * ALPHA), xytext=(2, 3), textcoords="offset points", fontsize=8)
    variance.set_yscale("log")
    likelihood.set_ylabel("negative log-likelihood (nats)", fontsize=8)
    variance.set_ylabel("variance across the surface", fontsize=8)
    for panel in (likelihood, variance):
        panel.set_xlabel("step", fontsize=8)
        plain(panel)
    title(likelihood, "likelihood of clean data")
    title(variance, "last component, median")
    likelihood.legend(fontsize=7, frameon=False)
    save_png(drawing, path)


def digits(root: Path, out: Path, steps: int) -> None:
    """Train the rectangular flow of the demo, and draw its components and walks."""
    options = ["--trainer.callbacks=null", "--trainer.enable_progress_bar=false"]
    run = cli.main(["fit", f"--config={CONFIG}", f"--trainer.logger.save_dir={root}", *options])
    checkpoint = Path(run.trainer.checkpoint_callback.best_model_path)
    extract(checkpoint, root / "digits", extraction=ComponentExtraction(10, k=6, walks=2))
    for name, picture in {
        "digits": "components",
        "strips": "walks",
        "spectrum": "spectrum",
    }.items():
        shutil.copy(root / "digits" / f"{picture}.png", out / f"components-{name}.png")


PARTS = {"surface": surface, "floor": floor, "digits": digits}


def main() -> None:
    """Train and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--only", choices=[*PARTS])
    parser.add_argument("--steps", type=int, default=1500, help="on the surface")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in [options.only] if options.only else PARTS:
        with TemporaryDirectory() as folder:
            PARTS[name](Path(folder), options.out, options.steps)


if __name__ == "__main__":
    main()

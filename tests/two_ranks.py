"""Runs of modules in two processes and in one; a script, as `proofs/module_ranks.py` says.

python two_ranks.py FOLDER MODULE NAME ...: cases of these names in MODULE.CASES
"""

import importlib
import sys
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import torch
from foreign import drawing
from foreign_ranks import Witness, record_writers

from lightning_flows.callbacks import PredictionWriter
from lightning_flows.objectives import free_form, penalties, stochastic
from proofs.module_case import made, rows, trainer
from resumed import resume


class Gradients(pl.Callback):
    """Every rank leaves the gradients of every step, as they are after the ranks have agreed."""

    def __init__(self, root):
        self.root, self.steps = root, []

    def on_after_backward(self, trainer, pl_module):
        gradients = [parameter.grad.flatten() for parameter in pl_module.parameters()]
        self.steps.append(torch.cat(gradients).clone())

    def on_train_end(self, trainer, pl_module):
        self.root.mkdir(parents=True, exist_ok=True)
        torch.save(torch.stack(self.steps), self.root / f"gradients{trainer.global_rank}.pt")


class Metrics(pl.Callback):
    """Rank 0 leaves what was logged."""

    def on_test_end(self, trainer, pl_module):
        self.leave(trainer, "test")

    def on_validation_end(self, trainer, pl_module):
        self.leave(trainer, "validate")

    def leave(self, trainer, name):
        if trainer.is_global_zero and not trainer.sanity_checking:
            path = Path(trainer.default_root_dir) / f"{name}.pt"
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(dict(trainer.callback_metrics), path)


def run_on(devices, root, callbacks, **options):
    strategy = "ddp_fork" if devices > 1 else "auto"
    options = {"default_root_dir": root, "callbacks": callbacks, **options}
    return trainer(devices=devices, strategy=strategy, **options)


def probes_of(u, count):
    """In place of random probes: the same for a sample on whatever rank it is."""
    v = torch.stack([((13.0 + k) * u.detach() + k).sin() + 0.1 for k in range(count)])
    return v * (u.shape[1] ** 0.5 / v.norm(dim=2, keepdim=True))


def draws_nothing(case):
    """Whether the loss of a step follows from weights and data, but for the noise of training."""
    (model, data), (x, context), losses = made(case), rows(case), []
    data.setup()
    model.noise, model.preprocess = 0.0, data.preprocess
    for seed in (1, 2):
        torch.manual_seed(seed)
        with torch.no_grad():
            losses.append(model.training_loss(x, context)[0])
    return torch.equal(*losses)


def fit_in_step(root, case, devices):
    """The same batches for one process as for both ranks together.

    Not by Adam, whose steps are as large for gradients that are rounding alone.
    """
    model, _ = made(case, optimizer=partial(torch.optim.SGD, lr=1e-4, momentum=0.9))
    model.noise = 0.0
    pl.seed_everything(0, verbose=False)
    callbacks = [*case.callbacks(), Gradients(root), Witness(root)]
    options = {"max_epochs": 3, "limit_train_batches": 4, "precision": "64-true"}
    run = run_on(devices, root, callbacks, limit_val_batches=0, **options)
    run.fit(model, case.data(batch_size=16 // devices))


def evaluate(root, checkpoint, case, devices):
    pl.seed_everything(devices, verbose=False)
    for action, callbacks in (
        ("test", [*drawing(), Metrics()]),
        ("validate", [Metrics()]),
        ("predict", [PredictionWriter()]),
    ):
        model, data = made(case)
        options = {} if action == "predict" else {"verbose": False}
        run = getattr(run_on(devices, root, callbacks), action)
        run(model, data, ckpt_path=checkpoint, **options)


def main(root, cases):
    record_writers()
    for name, case in cases.items():
        resume(root / name, case, 2)
    for module in (free_form, penalties, stochastic):
        module.probes_like = probes_of
    in_step = [name for name, case in cases.items() if draws_nothing(case)]
    for devices in (2, 1):  # forking comes before anything else that may start threads
        for name, case in cases.items():
            if name in in_step:
                fit_in_step(root / name / f"in step {devices}", case, devices)
            last = root / name / "whole" / "checkpoints" / "last.ckpt"
            evaluate(root / name / f"on {devices}", last, case, devices)


if __name__ == "__main__":
    every = importlib.import_module(sys.argv[2]).CASES
    main(Path(sys.argv[1]), {name: every[name] for name in sys.argv[3:]})

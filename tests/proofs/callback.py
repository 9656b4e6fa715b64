"""What every callback is held to, on a LightningModule that inherits nothing of ours."""

import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
from foreign import PLANE, Foreign, loader, trainer
from lightning.pytorch.callbacks import Checkpoint

from proofs.common import Proofs, same

PROOFS = Proofs()


class CallbackCase(NamedTuple):
    """A callback and how it is tried.

    Args:
        build: the callback, given the shape of the data; it acts in the first epoch.
        writes: a file that it leaves in the run's folder, or none.
        module: what it works on, given the shape of the data.
        trains: whether it is meant to change the model.
        images: whether it draws data that are images.
    """

    build: Callable[[tuple[int, ...]], pl.Callback]
    writes: str | None = None
    module: Callable[[tuple[int, ...]], pl.LightningModule] = Foreign
    trains: bool = False
    images: bool = True


POINTS = loader(PLANE)


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


class Looks(pl.Callback):
    """What there is in the folder when the sanity check has ended."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.found: set[str] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.found = files(self.root)


def fit(case: CallbackCase, root: Path, *callbacks: pl.Callback, **options: Any) -> Any:
    """The trained module and its trainer."""
    pl.seed_everything(0, verbose=False)
    module = case.module(PLANE)
    saves = any(isinstance(callback, Checkpoint) for callback in callbacks)
    defaults = {"max_epochs": 1, "enable_checkpointing": saves}
    run = trainer(root, callbacks=[*callbacks], **{**defaults, **options})
    run.fit(module, POINTS, POINTS)
    return module, run


@PROOFS.add()
def silent_in_the_sanity_check_and_in_a_trial_run(case: CallbackCase) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        module, run = fit(case, root, case.build(PLANE), fast_dev_run=True)
        run.test(module, POINTS, verbose=False)
        assert not files(root)
        look = Looks(root)
        fit(case, root, look, case.build(PLANE), limit_train_batches=1)
        assert look.found == set()


@PROOFS.add(when=lambda case: case.writes is not None)
def leaves_its_file(case: CallbackCase) -> None:
    with tempfile.TemporaryDirectory() as folder:
        module, run = fit(case, Path(folder), case.build(PLANE))
        run.predict(module, POINTS)
        assert case.writes in files(Path(folder))


@PROOFS.add(when=lambda case: not case.trains)
def leaves_weights_random_states_and_flags(case: CallbackCase) -> None:
    found = []
    for build in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            module, run = fit(case, Path(folder), *([case.build(PLANE)] if build else []))
            flags = {name: part.training for name, part in module.named_modules()}
            assert module.training
            state = [torch.get_rng_state(), torch.as_tensor(np.random.get_state()[1])]  # noqa: NPY002, the global state is what is meant
            run.test(module, POINTS, verbose=False)
            state += [torch.get_rng_state(), torch.as_tensor(np.random.get_state()[1])]  # noqa: NPY002, as above
            found.append((flags, state, module.state_dict()))
    assert found[0][0] == found[1][0]
    assert {True, False} == set(found[0][0].values()), "no part was in evaluation mode"
    same(found[0][1:], found[1][1:])


@PROOFS.add()
def pickles(case: CallbackCase) -> None:
    """As strategies that spawn processes ask for."""
    callback = case.build(PLANE)
    again = pickle.loads(pickle.dumps(callback))
    assert type(again) is type(callback)
    assert again.state_key == callback.state_key

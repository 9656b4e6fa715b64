from pathlib import Path
from typing import Any

import pytest
import torch
from foreign import Foreign, loader, trainer
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor

from lightning_flows.callbacks import NonFiniteGuard
from lightning_flows.core.errors import DivergenceError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*module.s. in eval mode at the start"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
]
PLANE = (2,)


class Explodes(Foreign):
    """Its loss, or only its gradient, is not finite in some batches; it remembers every step."""

    def __init__(self, bad: set[int], *, gradient: bool = False, **adam: Any) -> None:
        super().__init__(PLANE)
        self.bad, self.gradient, self.adam = bad, gradient, adam
        self.history: list[tuple[Tensor, Any]] = []
        self.batches = 0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        bad = self.batches in self.bad
        self.batches += 1
        if bad and self.gradient:  # sqrt has a finite value and an infinite slope at 0
            return loss + (self.shift - self.shift.detach()).square().sum().sqrt()
        return loss * torch.inf if bad else loss

    def on_train_batch_end(self, *_: Any) -> None:
        state = self.optimizers().state_dict()["state"]  # type: ignore[union-attr]
        flat = [value.clone() for entry in state.values() for value in entry.values()]
        self.history.append((self.matrix.detach().clone(), flat))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.05, weight_decay=0.1, **self.adam)


def fit(module: Foreign, root: Path, *callbacks: Any, **options: Any) -> Any:
    run = trainer(root, callbacks=[*callbacks], **{"max_epochs": 1, **options})
    run.fit(module, loader(PLANE))
    return run


@pytest.mark.filterwarnings("ignore:.*val_dataloader")
@pytest.mark.parametrize("adam", [{"fused": True}, {"foreach": True}, {"foreach": False}])
@pytest.mark.parametrize(
    "clip",
    [
        {},
        {"gradient_clip_val": 1.0},
        {"gradient_clip_val": 1.0, "gradient_clip_algorithm": "value"},
    ],
)
@pytest.mark.parametrize("gradient", [False, True])
def test_a_bad_step_changes_nothing_at_all(
    adam: dict[str, bool], clip: dict[str, Any], gradient: bool, tmp_path: Path
) -> None:
    module, guard = Explodes({2}, gradient=gradient, **adam), NonFiniteGuard()
    with pytest.warns(UserWarning, match="Step 2 is skipped") as record:
        run = fit(module, tmp_path, guard, **clip)
    assert len([w for w in record if "is skipped" in str(w.message)]) == 1
    assert guard.skipped == 1
    assert run.callback_metrics["train/skipped_steps"] == 1
    before, bad, after = module.history[1:4]
    assert torch.equal(before[0], bad[0])
    assert len(before[1]) == 6  # step and two moments of two parameters
    assert all(torch.equal(left, right) for left, right in zip(before[1], bad[1], strict=True))
    assert not torch.equal(bad[0], after[0])
    assert after[0].isfinite().all()


@pytest.mark.filterwarnings("ignore:.*val_dataloader", "ignore:Step .* is skipped")
def test_a_bad_batch_among_accumulated_ones_spoils_their_step_only(tmp_path: Path) -> None:
    module, guard = Explodes({0}), NonFiniteGuard()
    fit(module, tmp_path, guard, accumulate_grad_batches=2)
    assert guard.skipped == 1
    assert torch.equal(module.history[0][0], module.history[1][0])
    assert not torch.equal(module.history[1][0], module.history[3][0])


@pytest.mark.filterwarnings("ignore:.*val_dataloader", "ignore:Step .* is skipped")
def test_training_stops_after_too_many_in_all(tmp_path: Path) -> None:
    module, guard = Explodes({0, 2, 3}), NonFiniteGuard(limit=2)
    with pytest.raises(DivergenceError, match=r"2 optimizer steps had a loss .* last at step 2"):
        fit(module, tmp_path, guard)
    assert len(module.history) == 2
    assert module.matrix.isfinite().all()


@pytest.mark.filterwarnings("ignore:.*val_dataloader", "ignore:Step .* is skipped")
@pytest.mark.filterwarnings("ignore:.*exists and is not empty")
def test_the_count_goes_on_after_resuming(tmp_path: Path) -> None:
    run = fit(Explodes({1}), tmp_path, NonFiniteGuard(limit=2))
    run.save_checkpoint(tmp_path / "last.ckpt")
    guard = NonFiniteGuard(limit=2)
    resumed = trainer(tmp_path, callbacks=[guard], max_epochs=2)
    with pytest.raises(DivergenceError, match="2 optimizer steps"):
        resumed.fit(Explodes({0}), loader(PLANE), ckpt_path=tmp_path / "last.ckpt")
    assert guard.skipped == 2


@pytest.mark.filterwarnings("ignore:.*val_dataloader", "ignore:Step .* is skipped")
@pytest.mark.parametrize("fused", [False, True])
def test_a_gradient_scaler_is_left_to_its_own_work(fused: bool, tmp_path: Path) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    module, guard = Explodes({2}, fused=fused), NonFiniteGuard()
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    fit(module, tmp_path, guard, plugins=[plugin])
    assert guard.skipped == 1
    assert scaler.get_scale() == 2.0
    assert torch.equal(module.history[1][0], module.history[2][0])
    assert not torch.equal(module.history[2][0], module.history[3][0])


def test_two_guards_have_two_states() -> None:
    assert NonFiniteGuard(1).state_key != NonFiniteGuard(2).state_key


class Flat(Foreign):
    """Its loss is infinite in one batch, and its gradient as finite as ever."""

    def __init__(self, bad: int, scale: float = 1.0) -> None:
        super().__init__(PLANE)
        self.bad, self.scale = bad, scale
        self.history: list[Tensor] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.scale * super().training_step(batch, batch_idx)
        return loss + torch.inf if batch_idx == self.bad else loss

    def on_train_batch_end(self, *_: Any) -> None:
        self.history.append(self.matrix.detach().clone())


@pytest.mark.filterwarnings("ignore:.*val_dataloader", "ignore:Step .* is skipped")
@pytest.mark.parametrize("bad", [0, 1, 2])
def test_an_infinite_loss_among_accumulated_ones_is_not_forgotten(bad: int, tmp_path: Path) -> None:
    module, guard = Flat(bad), NonFiniteGuard()
    run = fit(module, tmp_path, guard, accumulate_grad_batches=2)
    assert guard.skipped == 1
    assert run.callback_metrics["train/skipped_steps"] == 1
    start = Flat(bad).matrix
    moved = [
        not torch.equal(a, b)
        for a, b in zip([start, module.history[1]], module.history[1::2], strict=True)
    ]
    assert moved == [bad >= 2, bad < 2]  # two steps of two batches each


@pytest.mark.filterwarnings("ignore:.*val_dataloader")
@pytest.mark.parametrize("scale", [1e20, 1e30])
def test_a_large_gradient_is_finite_though_its_square_is_not(scale: float, tmp_path: Path) -> None:
    module, guard = Flat(-1, scale), NonFiniteGuard()
    fit(module, tmp_path, guard)
    largest = max(float(p.grad.abs().max()) for p in module.parameters() if p.grad is not None)
    assert torch.tensor(largest).square().isinf()
    assert guard.skipped == 0

"""Guards of training."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer

from lightning_flows.core.errors import DivergenceError, check_least

__all__ = ["NonFiniteGuard"]


class NonFiniteGuard(Callback):
    """Skips optimizer steps whose loss or gradient is not finite, and stops after too many.

    All ranks agree, so that one bad batch on one rank skips the step on all of them. A skipped
    step changes neither parameters nor the optimizer's state: the gradients are removed before
    clipping and stepping. `train/skipped_steps` counts them over the whole run, across resumes.

    Under `precision="16-mixed"` gradients that overflow are the scaler's business: it skips the
    step and lowers its scale. There only losses are watched and counted.

    Checking costs one reduction over the gradients and one exchange of a flag at each step.

    Args:
        limit: number of skipped steps in all after which training stops.

    Raises:
        ConfigError: `limit` is not positive.
    """

    def __init__(self, limit: int = 10) -> None:
        check_least(1, limit=limit)
        self.limit = limit
        self.skipped = 0
        self._finite_loss = True
        self._warned = False

    @property
    def state_key(self) -> str:
        """Two guards with different limits keep their own counts."""
        return self._generate_state_key(limit=self.limit)

    def state_dict(self) -> dict[str, Any]:
        """The count."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.skipped = int(state_dict["skipped"])

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Remember a bad loss until the step that it belongs to (accumulated batches)."""
        self._finite_loss = self._finite_loss and bool(loss.detach().isfinite().all())

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Skip the step if it is bad on any rank.

        Raises:
            DivergenceError: it was one too many.
        """
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        finite = self._finite_loss and (scaled or _finite_gradients(optimizer))
        self._finite_loss = True
        if trainer.strategy.reduce_boolean_decision(finite, all=True):
            return
        self.skipped += 1
        if not scaled:  # an optimizer passes over parameters without a gradient
            for parameter in _parameters(optimizer):
                parameter.grad = None
            if pl_module.automatic_optimization:
                _skip_next_clipping(pl_module)
        if self.skipped >= self.limit:
            raise DivergenceError(
                f"{self.skipped} optimizer steps had a loss or gradient that is not finite, the "
                f"last at step {trainer.global_step}: lower the learning rate, clip gradients or "
                "regularize (tikhonov, noise), then resume from the last checkpoint."
            )
        if not self._warned:
            self._warned = True
            rank_zero_warn(
                f"Step {trainer.global_step} is skipped: its loss or gradient is not finite. "
                f"Further ones are counted as train/skipped_steps; training stops at {self.limit}."
            )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the count, which is the same on all ranks."""
        pl_module.log("train/skipped_steps", float(self.skipped), sync_dist=True)


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _skip_next_clipping(module: LightningModule) -> None:
    """Shadow the hook that follows once: torch's clip_grad_value_ fails without any gradient."""

    def configure_gradient_clipping(*args: Any, **kwargs: Any) -> None:
        del module.__dict__["configure_gradient_clipping"]

    module.__dict__["configure_gradient_clipping"] = configure_gradient_clipping


def _finite_gradients(optimizer: Optimizer) -> bool:
    """Whether all gradients are finite, as far as this rank has them."""
    gradients = [p.grad for p in _parameters(optimizer) if p.grad is not None]
    local = [g.to_local() if hasattr(g, "to_local") else g for g in gradients]
    # the largest magnitude and not the Euclidean norm, whose square may overflow
    return bool(torch.nn.utils.get_total_norm(local, float("inf")).isfinite()) if local else True

"""Splits of a multi-scale flow, chosen by what entries add to the likelihood."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_flows.core.errors import ConfigError, check_least
from lightning_flows.core.noise import Placed

from .drawing.isolation import evaluation

__all__ = ["ContributionRanking"]


class ContributionRanking(Callback):
    """Ranks entries by their mean contribution to the log-likelihood, one split after the other.

    For `RankedFlow`, or any `module.flow` with its methods `contributions`, `rank` and `ranked`.
    Throughout epoch n the contributions of the training batches are averaged, each batch under the
    weights of its step and in evaluation mode. After the last batch, before validation, the order
    of the first split is set. The second split follows after 2n epochs, so that its entries have
    been trained for, and so on. The order is the same on all ranks, made from the batches of all.
    It is a buffer of the model and so in its checkpoints; a run that is resumed does not rank
    again what was ranked.

    Training goes on with the weights and the optimizer's state as they are. What is lost: layers
    behind the split were trained for other entries, and so were the moments of the optimizer. The
    loss jumps and needs some epochs to come back; values of `val/loss` from before cannot be
    reached at once, so give the run as many epochs after the last ranking as it would need anyway.
    The sums over the batches of an epoch are in the checkpoint, so a run that is resumed in the
    middle of it ranks as if it had not been interrupted.

    Args:
        epochs: n, the number of epochs before the first split and between splits.

    Raises:
        ConfigError: `epochs` is not positive, or the module holds no flow that can be ranked.
    """

    def __init__(self, epochs: int = 10) -> None:
        check_least(1, epochs=epochs)
        self.epochs = epochs
        self._split: int | None = None
        self._sum: Tensor | None = None
        self._rows = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the module.

        Raises:
            ConfigError: it holds no flow that can be ranked.
        """
        flow = getattr(pl_module, "flow", None)
        missing = [name for name in ("contributions", "rank", "ranked") if not hasattr(flow, name)]
        if missing:
            raise ConfigError(
                f"ContributionRanking needs a flow with {', '.join(missing)}, such as RankedFlow; "
                f"{type(pl_module).__name__} has a {type(flow).__name__}."
            )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """In front of the first batch, see which split is due at the end of the epoch.

        Lightning leaves out the hook at the start of an epoch after some resumes.
        """
        if batch_idx:
            return
        ranked: list[bool] = pl_module.flow.ranked  # type: ignore[union-attr, assignment]
        done = sum(ranked)
        due = done < len(ranked) and trainer.current_epoch + 1 >= (done + 1) * self.epochs
        self._split = done if due else None
        self._sum, self._rows = None, 0

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store the sums of all ranks."""
        total, rows = self._sum, float(self._rows)
        # ranks that are alive save together; after an exception, one of them may save alone
        if total is not None and not trainer.interrupted:
            total, rows = self._of_all_ranks(trainer, total)
        checkpoint["contribution_ranking"] = {"split": self._split, "sum": total, "rows": rows}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on adding up: rank 0 from the sums of all."""
        state = checkpoint.get("contribution_ranking", {})
        self._split = state.get("split")
        self._sum, self._rows = None, 0
        if trainer.is_global_zero and state.get("sum") is not None:
            self._sum, self._rows = state["sum"].to(pl_module.device), int(state["rows"])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add up contributions; after the last batch, set the order."""
        if self._split is None:
            return
        module: Any = pl_module
        with evaluation(module):
            x, context = module.unpack(batch)
            places = (self._rows + torch.arange(len(x))) * trainer.world_size + trainer.global_rank
            with Placed(places):  # by which equal rows of different batches get noise of their own
                y = module.to_model_space(x)[0]
            total = module.flow.contributions(y, self._split, module.to_model_context(context)).sum(
                0
            )
        self._sum = total if self._sum is None else self._sum + total
        self._rows += len(x)
        if trainer.is_last_batch:
            sums, rows = self._of_all_ranks(trainer, self._sum)
            scores = trainer.strategy.broadcast(sums / rows).to(total.device)
            module.flow.rank(self._split, scores)
            self._split = self._sum = None

    def _of_all_ranks(self, trainer: Trainer, total: Tensor) -> tuple[Tensor, float]:
        """Sums over rows (features,), and the number of rows."""
        reduce = trainer.strategy.reduce
        rows = reduce(torch.tensor(float(self._rows), device=total.device), reduce_op="sum")
        # a copy: the reduction works in place
        return torch.as_tensor(reduce(total.clone(), reduce_op="sum")), float(rows)

"""Predictions in a file."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_flows.errors import check_name

__all__ = ["PredictionWriter"]


class PredictionWriter(Callback):
    """Writes what `predict_step` returned to `<log_dir>/predictions.npz`, in the order of the data.

    The families of lightning_flows predict `latent`, (n, *latent_shape), and `log_prob`, (n,) in
    nats, which is called `elbo` where it is a lower bound. Under DDP the ranks' shares are
    gathered; rank 0 writes.

    Args:
        filename: name of the file in the run's folder.

    Raises:
        ConfigError: the name is a path.

    Attributes:
        path: where the last predictions were written, on rank 0.
    """

    def __init__(self, filename: str = "predictions.npz") -> None:
        check_name(filename=filename)
        self.filename = filename
        self.path: Path | None = None
        self._batches: list[dict[str, Tensor]] = []

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget earlier predictions."""
        self._batches = []

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the outputs of a batch on the CPU."""
        self._batches.append({name: value.detach().cpu() for name, value in outputs.items()})

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather and write."""
        share = {name: torch.cat([b[name] for b in self._batches]) for name in self._batches[0]}
        shares: list[Any] = [share]
        if trainer.world_size > 1:
            shares = [None] * trainer.world_size
            torch.distributed.all_gather_object(shares, share)
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # every rank asks for it
        if trainer.is_global_zero:
            folder.mkdir(parents=True, exist_ok=True)
            self.path = folder / self.filename
            np.savez_compressed(
                self.path, **{name: _interleaved([s[name] for s in shares]) for name in share}
            )


def _interleaved(shares: list[Tensor]) -> Any:
    """Undo the sharding, in which rank r holds rows r, r + world, r + 2 world and so on."""
    whole = shares[0].new_empty(sum(map(len, shares)), *shares[0].shape[1:])
    for rank, share in enumerate(shares):
        whole[rank :: len(shares)] = share
    return whole.float().numpy() if whole.dtype == torch.bfloat16 else whole.numpy()

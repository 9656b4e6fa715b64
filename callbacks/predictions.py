"""Predictions in a file."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_flows.core.errors import check_name

__all__ = ["PredictionWriter"]


class PredictionWriter(Callback):
    """Writes what `predict_step` returned to `<log_dir>/predictions.npz`, in the order of the data.

    The families of lightning_flows predict `latent`, (n, *latent_shape), and `log_prob`, (n,) in
    nats, which is called `elbo` where it is a lower bound. Under DDP the ranks' shares are
    gathered; rank 0 writes. Of several loaders the first one goes to that file, the second to
    `predictions_dataloader_idx_1.npz` and so on.

    Args:
        filename: name of the file in the run's folder.

    Raises:
        ConfigError: the name is a path.

    Attributes:
        path: where the last predictions were written, on rank 0; those of the first loader.
    """

    def __init__(self, filename: str = "predictions.npz") -> None:
        check_name(filename=filename)
        self.filename = filename
        self.path: Path | None = None
        self._batches: dict[int, list[dict[str, Tensor]]] = {}

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget earlier predictions."""
        self._batches = {}

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
        found = {name: value.detach().cpu() for name, value in outputs.items()}
        self._batches.setdefault(dataloader_idx, []).append(found)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather and write."""
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # every rank asks for it
        for index, batches in sorted(self._batches.items()):
            share = {name: torch.cat([b[name] for b in batches]) for name in batches[0]}
            shares: list[Any] = [share]
            if trainer.world_size > 1:
                shares = [None] * trainer.world_size
                torch.distributed.all_gather_object(shares, share)
            if trainer.is_global_zero:
                self._write(folder, index, shares)

    def _write(self, folder: Path, index: int, shares: list[dict[str, Tensor]]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / self.filename
        if index:
            path = path.with_stem(f"{path.stem}_dataloader_idx_{index}")
        else:
            self.path = path
        arrays = {name: _interleaved([share[name] for share in shares]) for name in shares[0]}
        np.savez_compressed(path, **arrays)


def _interleaved(shares: list[Tensor]) -> Any:
    """Undo the sharding, in which rank r holds rows r, r + world, r + 2 world and so on."""
    whole = shares[0].new_empty(sum(map(len, shares)), *shares[0].shape[1:])
    for rank, share in enumerate(shares):
        whole[rank :: len(shares)] = share
    return whole.float().numpy() if whole.dtype == torch.bfloat16 else whole.numpy()

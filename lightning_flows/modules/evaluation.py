"""Validation and test: where rows stand in the split, and the figures that are logged of them.

Noise of scores is keyed by the content of a row and its place in the split (`core.noise`). Places
suppose that loaders do not shuffle and give rank r of w rows r, r + w, and so on, as Lightning's
samplers and ours do.
"""

import math
from collections.abc import Callable
from typing import Any

import lightning.pytorch as L
import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics import Metric

from lightning_flows.bases.base import Density
from lightning_flows.core.noise import Placed
from lightning_flows.core.shapes import size
from lightning_flows.metrics.mean import StandardError
from lightning_flows.transforms import Dequantize, Transform

__all__ = ["Evaluation", "bits_per_dim", "scores_integers"]


def scores_integers(flow: Density, preprocess: Transform | None) -> bool:
    """Whether log-densities are log-probabilities of integers, or bound them."""
    parts = [] if preprocess is None else preprocess.modules()
    rounded = any(
        isinstance(part, Dequantize) and size(part.event_shape) == size(flow.event_shape)
        for part in parts
    )
    return flow.measure == "counting" or (rounded and flow.measure == "Lebesgue")


def bits_per_dim(values: dict[str, Tensor], entries: int) -> dict[str, Tensor]:
    """The figure of this name, in bits per entry of a data point, from "nll" or "elbo" in nats."""
    if not {"nll", "elbo"} & values.keys():
        return {}
    nats = values["nll"] if "nll" in values else -values["elbo"]
    return {"bits_per_dim": nats / (entries * math.log(2))}


class Evaluation:
    """What one rank has seen of the split that it evaluates: rows, and figures that gather them."""

    def __init__(self) -> None:
        self._rows = 0
        self._metrics: dict[str, Metric] = {}

    def placed(self, rows: int, batch_idx: int, device: torch.device) -> Placed:
        """Where the rows of a batch stand in the split, of which every rank has its share.

        Args:
            rows: of this batch.
            batch_idx: number of the batch; 0 begins a split.
            device: of the rows.
        """
        if batch_idx == 0:
            self._rows = 0
        own = torch.arange(self._rows, self._rows + rows, device=device)
        self._rows += rows
        if dist.is_available() and dist.is_initialized():
            own = own * dist.get_world_size() + dist.get_rank()
        return Placed(own)

    def log(
        self,
        module: L.LightningModule,
        stage: str,
        values: dict[str, Tensor],
        batch_idx: int,
        dataloader_idx: int,
        *,
        noisy: bool,
    ) -> None:
        """Log the means; of the first loader under the plain names, which others may monitor.

        Args:
            module: what is evaluated, which logs.
            stage: prefix of the names, "val" or "test".
            values: of each row by name, (batch,), as `FlowModule.evaluate` gives them.
            batch_idx: number of the batch; 0 begins a split.
            dataloader_idx: number of the loader.
            noisy: whether standard errors are logged beside the figures.
        """
        suffix = f"/dataloader_idx_{dataloader_idx}" if dataloader_idx else ""
        failed = values.pop("volume/failed", None)
        unscored = values.pop("unscored", None)
        for name, value in values.items():
            kept = torch.ones_like(value, dtype=torch.bool)
            for rows_without in (failed, unscored):
                if rows_without is not None:
                    kept &= ~rows_without | value.isfinite()
            # a float: Lightning averages whole numbers over ranks with whole-number division
            rows = kept.to(torch.float32).sum()
            mean = torch.where(kept, value, 0.0).sum() / rows.clamp(min=1)
            _log_of_epoch(module, f"{stage}/{name}{suffix}", mean, batch_size=rows)
            if noisy and name != "loss":
                place = batch_idx, dataloader_idx
                self.gather(module, f"{stage}/{name}_se", StandardError, value[kept], *place)
        if failed is not None:
            count = failed.to(torch.float32).sum()
            _log_of_epoch(module, f"{stage}/volume/failed{suffix}", count, reduce_fx="sum")

    def gather(
        self,
        module: L.LightningModule,
        name: str,
        make: Callable[[], Metric],
        values: Tensor,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Log a figure of all batches and ranks together, which is no mean over rows.

        Args:
            module: what is evaluated, which logs.
            name: under which it is logged.
            make: the metric of the figure.
            values: what the metric takes of this batch.
            batch_idx: number of the batch; 0 begins a split.
            dataloader_idx: number of the loader.
        """
        key = f"{name}/dataloader_idx_{dataloader_idx}" if dataloader_idx else name
        if batch_idx == 0:
            self._metrics[key] = make().to(module.device)
        self._metrics[key].update(values)
        _log_of_epoch(module, key, self._metrics[key], metric_attribute=key)


def _log_of_epoch(
    module: L.LightningModule, name: str, value: Tensor | Metric, **options: Any
) -> None:
    options |= {"on_step": False, "on_epoch": True, "sync_dist": True}
    module.log(name, value, add_dataloader_idx=False, **options)

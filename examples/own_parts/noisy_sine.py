"""A data module of one's own, with real-valued context."""

import torch

from lightning_flows.datamodules import FlowDataModule, Splits, split_indices


class SineGivenTime(FlowDataModule):
    """y = sin(t) + (0.1 + 0.2|t|) ε, given t between -3 and 3.

    Args:
        rows: number of pairs; a tenth each for validation and test. Options as usual.
    """

    def __init__(self, rows: int = 4000, **options: int) -> None:
        super().__init__(1, context_shape=1, **options)
        self.save_hyperparameters()

    def load(self) -> Splits:
        rows, generator = self.hparams["rows"], torch.Generator().manual_seed(self.seed)
        t = 6 * torch.rand(rows, 1, generator=generator) - 3
        y = t.sin() + (0.1 + 0.2 * t.abs()) * torch.randn(t.shape, generator=generator)
        pieces = split_indices(rows, [rows // 10] * 2, self.seed)
        splits = zip(("train", "val", "test"), pieces, strict=True)
        return {name: {"x": y[i], "context": t[i]} for name, i in splits}

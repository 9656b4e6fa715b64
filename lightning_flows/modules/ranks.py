"""What ranks that train together must have in common."""

import torch
from lightning.pytorch import LightningModule

from lightning_flows.core.errors import DataError

__all__ = ["check_even"]


def check_even(module: LightningModule) -> None:
    """Refuse loaders that give ranks different numbers of training batches.

    The rank with most of them would wait for the others forever.

    Raises:
        DataError: names the numbers, on every rank.
    """
    own = torch.tensor(float(module.trainer.num_training_batches), device=module.device)
    # reduced in place
    reduce = module.trainer.strategy.reduce
    least, most = (float(reduce(own.clone(), reduce_op=op)) for op in ("min", "max"))
    if least != most:
        raise DataError(
            f"The training loaders of the ranks have from {least:.0f} to {most:.0f} batches; "
            "accepted are equally many on all ranks: let the sampler repeat or leave out rows, as "
            f"DistributedSampler does, or set limit_train_batches to {least:.0f}."
        )

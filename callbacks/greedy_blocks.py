"""Layers trained one block after the other, for as long as another block helps."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import nn
from torch.optim import Optimizer

from lightning_flows.core.errors import ConfigError, check_least

from .affine_gain import AffineGainMonitor

__all__ = ["GreedyBlocks"]


class GreedyBlocks(Callback):
    """Trains the blocks of a flow one after the other, the earlier ones frozen.

    The construction by which affine couplings are proved to be universal (Draxler et al. 2024,
    arXiv 2402.06578): a block is trained, stays as it is, and the next one takes its
    latents to be the data. After n epochs each, at the last batch, the affine gain of the
    validation latents is measured and logged (`AffineGainMonitor`). While it is above zero by two
    standard errors, the next block is trained; otherwise, and after the last block, training stops.

    The flow is made with as many blocks as there may be, and its later ones have to start as maps
    that leave a standard normal density alone: identities, as couplings, autoregressive layers,
    splines, `LULinear` and `Radial` are at the start, or rotations. So a flow of which some blocks
    have never been trained is the flow of the others, its checkpoint holds all of it, and
    `load_from_checkpoint(path)` needs nothing else.

    A block is a number of consecutive layers with parameters in the flow's `Chain`. Gradients of
    the others are removed before each step, so optimizers pass over them: the state of a block,
    such as the moments of Adam, starts when its turn comes. A learning rate that falls over all
    epochs is smallest for the last block; a constant one treats all alike. Give the trainer at
    least n epochs for each block.

    Args:
        epochs: n, the number of epochs for each block.
        layers: number of layers with parameters that make a block; 2 where each coupling has an
            ActNorm or a rotation before it.
        points: number of validation points that the gain is measured with.
        seed: starting point of splits, rotations and networks of the measurement.

    Raises:
        ConfigError: an option is out of range, or the module holds no flow of such blocks with a
            fixed base.
    """

    def __init__(
        self, epochs: int = 10, *, layers: int = 1, points: int = 2000, seed: int = 0
    ) -> None:
        check_least(1, epochs=epochs, layers=layers)
        self.epochs = epochs
        self.layers = layers
        self.block = 0
        self._monitor = AffineGainMonitor(points, every_n_epochs=0, seed=seed, name="affine_gain")

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the module.

        Raises:
            ConfigError: it holds no flow that can be trained by blocks.
        """
        flow: Any = getattr(pl_module, "flow", None)
        if not (hasattr(flow, "transform") and hasattr(flow, "base")):
            raise ConfigError(
                "GreedyBlocks needs a flow made of a transform and a base, such as RealNVP; "
                f"{type(pl_module).__name__} has a {type(flow).__name__}."
            )
        if [*flow.base.parameters()]:
            raise ConfigError(
                f"GreedyBlocks needs a standard normal base; {type(flow.base).__name__} has "
                "parameters of its own."
            )
        found = len(_trainable(flow))
        if not found or found % self.layers:
            raise ConfigError(
                f"layers is {self.layers}; {type(flow).__name__} has {found} layers with "
                "parameters, which do not make whole blocks of that many."
            )
        self._monitor.setup(trainer, pl_module, stage)

    def state_dict(self) -> dict[str, Any]:
        """The number of the block that is trained."""
        return {"block": self.block}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with that block."""
        self.block = int(state_dict["block"])

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Remove the gradients of all other blocks."""
        first = self.block * self.layers
        layers = _trainable(pl_module.flow)[first : first + self.layers]
        trained = {id(parameter) for layer in layers for parameter in layer.parameters()}
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if id(parameter) not in trained:
                    parameter.grad = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After the last batch of the block's last epoch, go on to the next block or stop."""
        if not trainer.is_last_batch or (trainer.current_epoch + 1) % self.epochs:
            return
        self._monitor.measure(trainer, pl_module)
        helps = trainer.strategy.broadcast(self._monitor.helps)
        if helps is None:  # a trial run, or a measurement that failed and said so
            return
        last = (self.block + 1) * self.layers >= len(_trainable(pl_module.flow))
        if helps and not last:
            self.block += 1
            return
        trainer.should_stop = True
        rank_zero_info(
            f"Training stops after block {self.block + 1}: "
            + ("there is no other, though one would help." if helps else "no other would help.")
        )


def _trainable(flow: Any) -> list[nn.Module]:
    return [layer for layer in flow.transform.sequence if [*layer.parameters()]]

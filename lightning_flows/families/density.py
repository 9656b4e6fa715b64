"""Maximum likelihood for flows of full dimension."""

from torch import Tensor

from lightning_flows.families.base import FlowModule

__all__ = ["DensityFlow"]


class DensityFlow(FlowModule):
    """Trains a flow on the negative log-likelihood of data in its original units.

    Logs `train/loss`, `val/nll` and `test/nll` in nats, and bits per dimension where the
    preprocessing dequantises integers. Where the flow gives a lower bound only, `elbo`, the bound
    itself, takes the place of `nll`.

    Args:
        flow: makes the flow from the event shape: RealNVP, NICE, NeuralSplineFlow, MAF, …
        event_shape: shape of one data point.
        context_shape: shape of what the density is conditioned on.
        optimizer: makes the optimizer from the parameters; fused Adam with learning rate 1e-3
            unless given.
        scheduler: makes the learning rate scheduler from the optimizer; stepped every epoch.
        compile: whether the networks are compiled with `torch.compile`.
    """

    def training_loss(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        y, contribution = self.to_model_space(x)
        return -(self.flow(y, context) + contribution), {}

    def evaluate(self, x: Tensor, context: Tensor | None) -> dict[str, Tensor]:
        log_prob = self.log_prob(x, context)
        named = {"nll": -log_prob} if getattr(self.flow, "exact", True) else {"elbo": log_prob}
        return {**named, "loss": -log_prob}

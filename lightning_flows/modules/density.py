"""Maximum likelihood for flows of full dimension."""

from torch import Tensor

from lightning_flows.bases.base import Density
from lightning_flows.core.noise import Reproducible
from lightning_flows.jacobians.products import Map
from lightning_flows.modules.arguments import refuse_manifold, warn_of_fixed_profile
from lightning_flows.modules.base import FlowModule
from lightning_flows.objectives import Embedded, Volume, volume_and_penalties

__all__ = ["DensityModule"]


class DensityModule(FlowModule):
    """Trains a flow on the negative log-likelihood of data in its original units.

    Logs `train/loss`, `val/nll` and `test/nll` in nats, and bits per dimension where the
    preprocessing dequantizes integers. Where the flow gives a lower bound only, `elbo`, the bound
    itself, takes the place of `nll`. With `penalties=[Tikhonov(α)]` no direction of the density
    becomes thinner than √(2α), and the likelihood has a floor (Feinman and Parthasarathy 2019).
    The losses of validation and test contain the penalties as that of training does, with random
    probes that are a hash of the data; noise is for training only. Options are those of
    `FlowModule`; a flow on a manifold is refused, and one whose layers all preserve volume is
    warned of.
    """

    def check_flow(self, flow: Density) -> None:
        refuse_manifold(self, flow)
        warn_of_fixed_profile(flow)

    def training_loss(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        y, contribution = self.to_model_space(x)
        y = self.noisy(y)
        loss = -(self.flow.log_prob(y, self.to_model_context(context)) + contribution)
        return self._penalized(loss, y, context)

    def evaluate(self, x: Tensor, context: Tensor | None) -> dict[str, Tensor]:
        return self._scored(self.log_prob(x, context), x, context)

    def _scored(self, log_prob: Tensor, x: Tensor, context: Tensor | None) -> dict[str, Tensor]:
        """What is reported of a log-density (batch,), and the loss; probes hash the data."""
        with Reproducible(x.float(), not self.training):
            loss, _ = self._penalized(-log_prob, self.to_model_space(x)[0], context)
        return {**self._named(log_prob), "loss": loss}

    def _named(self, log_prob: Tensor) -> dict[str, Tensor]:
        return {"nll": -log_prob} if self.exact else {"elbo": log_prob}

    def _penalized(
        self, loss: Tensor, y: Tensor, context: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss with the penalties at preprocessed data y, and each of them, (batch,)."""
        named = self.named_penalties
        if not named:
            return loss, {}
        given = self.to_model_context(context)

        def encode(y: Tensor) -> Tensor:
            z: Tensor = self.flow.encode(y, given).flatten(1)
            return z

        def decode(z: Tensor) -> Tensor:
            return self.flow.decode(z.unflatten(1, self.latent_shape), given)

        penalties = [penalty for _, penalty in named]
        _, values = volume_and_penalties(_Inverted(), penalties, encode, decode, y)
        total, parts = self.weighed(named, values)
        return loss + total, parts


class _Inverted(Volume):
    """No volume: of a flow whose latents decode to the data that they encode."""

    measures = False

    def __call__(self, encode: Map, decode: Map, x: Tensor) -> Embedded:
        return Embedded(encode(x), x, x.new_zeros(len(x)))

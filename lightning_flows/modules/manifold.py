"""What all modules on manifolds share: scores at the projection, residuals, failed volumes."""

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_flows.bases.base import Density
from lightning_flows.core.noise import Reproducible
from lightning_flows.core.shapes import sum_event
from lightning_flows.flows.injective import InjectiveFlow
from lightning_flows.jacobians.log_volume import half_log_det, log_diagonal, triangle
from lightning_flows.jacobians.products import tangents, value_and_jacobian
from lightning_flows.modules.arguments import require_manifold
from lightning_flows.modules.base import FlowModule
from lightning_flows.objectives import Embedded

__all__ = ["ManifoldModule"]


class ManifoldModule(FlowModule):
    """A manifold and the density on it, however they are trained.

    Validation and test log `nll` (nats, on the manifold at the projection, in the units of the
    data), `ambient_nll` (nats, in data space), `reconstruction` (squared error summed over the
    entries of the preprocessed data), `log_volume` (of the data) and the loss. A sample whose
    volume fails is left out of the means that need it, `volume/failed` counts such samples, and a
    warning says so. Where it is the data or the prior that is not finite, nothing is left out.

    Subclasses implement `training_loss`, `objective` and `ambient_log_prob`.

    Raises:
        ConfigError: the flow is not one on a manifold.
    """

    flow: InjectiveFlow
    _reported_failures = False

    def check_flow(self, flow: Density) -> None:
        require_manifold(self, flow)

    def objective(
        self,
        y: Tensor,
        embedded: Embedded,
        log_prior: Tensor,
        reconstruction: Tensor,
        context: Tensor | None,
    ) -> Tensor:
        """The loss in validation and test.

        Args:
            y: preprocessed data, (batch, *event_shape).
            embedded: its way through `project` and `embed`, with the Jacobian.
            log_prior: log-density of the coordinates, (batch,).
            reconstruction: squared error, (batch,).
            context: preprocessed, (batch, *context_shape), or None.

        Returns:
            (batch,), what training descends on, up to a constant.
        """
        raise NotImplementedError

    def penalized(self, loss: Tensor, y: Tensor, embedded: Embedded) -> Tensor:
        """Loss and penalties of each sample, (batch,), in validation and test."""
        for penalty in self.penalties:
            value = penalty(self.flow.project, self.flow.embed, y, embedded)
            loss = loss + penalty.weight * value
        return loss

    def noise_of_scores(self, x: Tensor) -> Reproducible:
        """One key, the raw data, for draws and probes of objectives in evaluation mode."""
        return Reproducible(x.float(), not self.training)

    @property
    def objective_constant(self) -> float:
        """What `objective` lacks, in nats, to be a negative log-density if it is one at all."""
        return 0.0

    def objective_nll(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        contribution = self.to_model_space(x)[1]
        return self.evaluate(x, context)["loss"] + self.objective_constant - contribution

    def ambient_log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of x in data space.

        Args:
            x: data in original units, (batch, *event_shape).
            context: (batch, *context_shape), or None.

        Returns:
            (batch,), nats.
        """
        raise NotImplementedError

    def evaluate(self, x: Tensor, context: Tensor | None) -> dict[str, Tensor]:
        y, _ = self.to_model_space(x)
        u = self.flow.project(y)
        x_hat, j = value_and_jacobian(self.flow.embed, u)
        embedded = Embedded(u, x_hat, half_log_det(j), j)
        volume = self._volume_of_data(embedded)
        given = self.to_model_context(context)
        log_prior = self.flow.prior.log_prob(u, given)
        reconstruction = sum_event((y - x_hat).square())
        ambient = self.ambient_log_prob(x, context)
        with self.noise_of_scores(x):
            loss = self.objective(y, embedded, log_prior, reconstruction, given)
        values = {
            "nll": volume - log_prior,
            "ambient_nll": -ambient,
            "reconstruction": reconstruction,
            "log_volume": volume,
            "loss": loss,
        }
        # not where the data, the latent or the prior is at fault
        sound = log_prior.isfinite() & reconstruction.isfinite()
        return {**values, "volume/failed": sound & ~(volume + ambient + loss).isfinite()}

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density at the projection of x with respect to d-dimensional volume of data space.

        Args:
            x: data in original units, (batch, *event_shape).
            context: (batch, *context_shape), or None.

        Returns:
            (batch,), nats.
        """
        u = self.flow.project(self.to_model_space(x)[0])
        x_hat, j = value_and_jacobian(self.flow.embed, u)
        volume = self._volume_of_data(Embedded(u, x_hat, log_diagonal(triangle(j), j.shape[1]), j))
        return self.flow.prior.log_prob(u, self.to_model_context(context)) - volume

    def reconstruct(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Projections of data onto the manifold, in original units: (batch, *event_shape).

        Context does not change them: it conditions the density on the manifold alone.
        """
        return self._embed_in_data(self.flow.project(self.to_model_space(x)[0]))

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self._reported_failures = False

    def on_validation_end(self) -> None:
        self._say_failures("val")

    def on_test_end(self) -> None:
        self._say_failures("test")

    def _say_failures(self, stage: str) -> None:
        """Warn once a run where rows were left out."""
        name = f"{stage}/volume/failed"
        counts = [value for key, value in self.trainer.callback_metrics.items() if name in key]
        failed = round(sum(map(float, counts)))
        if failed and not self._reported_failures:
            self._reported_failures = True
            rank_zero_warn(
                f"The Jacobian of {failed} rows is not finite or not of full rank: they are left "
                f"out of the means of figures that need their volume, and counted as {name}."
            )

    def _embed_in_data(self, u: Tensor) -> Tensor:
        return self.from_model_space(self.flow.embed(u))

    def _volume_of_data(self, embedded: Embedded) -> Tensor:
        """Log-volume of the manifold in the units of the data, (batch,); NaN where it fails."""
        if self.preprocess is None:
            return embedded.log_volume
        assert embedded.jacobian is not None
        columns = embedded.jacobian.permute(2, 0, 1).reshape(-1, *embedded.x_hat.shape)
        moved = tangents(self.from_model_space, embedded.x_hat, columns)[1].flatten(2)
        # columns of data may be of very different size, and the rank is known already
        r = torch.linalg.qr(moved.permute(1, 2, 0).double()).R
        volume = r.diagonal(dim1=1, dim2=2).abs().log().sum(1).to(embedded.log_volume.dtype)
        return torch.where(embedded.log_volume.isnan(), torch.nan, volume)

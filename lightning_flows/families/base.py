"""What all families share: data units, preprocessing, logging, optimizers, checkpoints."""

import copy
import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import lightning.pytorch as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from lightning_flows.bases.base import Density
from lightning_flows.bases.noise import Reproducible
from lightning_flows.errors import CheckpointError, ConfigError, ShapeError
from lightning_flows.families.checkpoints import check_checkpoint, check_optimizers
from lightning_flows.recipe import Recorded, build_factory, build_part, is_recipe, to_recipe
from lightning_flows.shapes import Shape, as_shape, check_batch, size
from lightning_flows.transforms import Dequantise, Transform
from lightning_flows.transforms.base import Kind

__all__ = ["FlowFactory", "FlowModule"]

FlowFactory = Callable[[Shape], Density]
"""Makes a flow from the shape of one data point: a class, a `functools.partial` or a lambda."""


class FlowModule(Recorded, L.LightningModule):
    """A flow with its preprocessing, its optimizer and its place in a Trainer.

    `log_prob`, `sample`, `encode` and `decode` speak of data in its original units: the family
    takes over the fitted `preprocess` of the DataModule when training is set up, keeps it in its
    checkpoint, and adds its contribution to every likelihood.

    A batch is a tensor, a tuple whose first element is the data, or a dict with the key "x".
    The second element, or the key "context", is context where `context_shape` is set, and is
    ignored otherwise.

    Args:
        flow: makes the flow from the event shape.
        event_shape: shape of one data point.
        context_shape: shape of what the density is conditioned on.
        optimizer: makes the optimizer from the parameters; fused Adam with learning rate 1e-3
            unless given.
        scheduler: makes the learning rate scheduler from the optimizer; stepped every epoch.
        compile: whether the networks are compiled with `torch.compile`.
    """

    flow: Any
    preprocess: Transform | None

    def __init__(
        self,
        flow: FlowFactory,
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(self._storable_arguments())
        self.event_shape = as_shape(event_shape)
        self.context_shape = (
            None if context_shape is None else as_shape(context_shape, "context_shape")
        )
        conditioned = {} if self.context_shape is None else {"context_shape": self.context_shape}
        self.flow = _factory(flow)(self.event_shape, **conditioned)
        if tuple(self.flow.event_shape) != self.event_shape:
            raise ShapeError(
                f"flow made a density of event_shape {tuple(self.flow.event_shape)}; "
                f"the data has {self.event_shape}."
            )
        self.latent_shape: Shape = tuple(getattr(self.flow, "latent_shape", self.event_shape))
        self.preprocess = None
        self._optimizer = _factory(optimizer) or partial(torch.optim.Adam, lr=1e-3, fused=True)
        self._scheduler = _factory(scheduler)
        self._compile = compile
        self._initialised = False

    @property
    def exact(self) -> bool:
        """Whether the flow gives its log-density itself and not a lower bound."""
        return bool(getattr(self.flow, "exact", True))

    @property
    def kind(self) -> Kind:
        """Whether encoding and decoding draw at random; see `Transform`."""
        kind: Kind = getattr(getattr(self.flow, "transform", None), "kind", "bijection")
        return kind

    # -- the density in original units ---------------------------------------------------------

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of data in its original units, or a lower bound of it as `exact` says.

        Args:
            x: data, (batch, *event_shape).
            context: (batch, *context_shape), or None.

        Returns:
            (batch,), nats.
        """
        with self.noise_of(x):
            y, contribution = self.to_model_space(x)
            log_prob: Tensor = self.flow.log_prob(y, context)
        return log_prob + contribution

    def sample(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw data: (n, *event_shape), or with context (batch, n, *event_shape)."""
        y: Tensor = self.flow.sample(n, context, temperature)
        if self.preprocess is None:
            return y
        flat = y.reshape(-1, *self.preprocess.latent_shape)
        x = self.preprocess.decode(flat)[0]
        return x.reshape(*y.shape[: y.ndim - len(self.event_shape)], *self.event_shape)

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Latents of data: (batch, *event_shape) -> (batch, *latent_shape)."""
        with self.noise_of(x):
            z: Tensor = self.flow.encode(self.to_model_space(x)[0], context)
        return z

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Data of latents: (batch, *latent_shape) -> (batch, *event_shape)."""
        return self.from_model_space(self.flow.decode(z, context))

    def to_model_space(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Preprocess data; returns what the flow sees and the contribution (batch,) in nats."""
        check_batch(x, self.event_shape, "x")
        if self.preprocess is None:
            return x, torch.zeros(len(x), device=x.device)
        y, contribution = self.preprocess.encode(x)
        return y, contribution

    def from_model_space(self, y: Tensor) -> Tensor:
        """Undo the preprocessing."""
        return y if self.preprocess is None else self.preprocess.decode(y)[0]

    def noise_of(self, x: Tensor) -> Reproducible:
        """One key, the raw data, for all noise of preprocessing and flow in evaluation mode.

        Nothing is drawn for an exact flow but by Dequantise, which has a key of its own.
        """
        return Reproducible(x.float(), not (self.training or self.exact))  # whatever type x has

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Same as `log_prob`."""
        return self.log_prob(x, context)

    # -- what a family supplies ----------------------------------------------------------------

    def training_loss(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """Objective of data in original units.

        Returns:
            The loss of each sample, (batch,), and the parts of it that are logged.
        """
        raise NotImplementedError

    def evaluate(self, x: Tensor, context: Tensor | None) -> dict[str, Tensor]:
        """What validation and test report of data in original units, each (batch,)."""
        raise NotImplementedError

    def evaluate_test(self, x: Tensor, context: Tensor | None) -> dict[str, Tensor]:
        """What test reports; as validation unless a family takes more time for it."""
        return self.evaluate(x, context)

    # -- hooks of the Trainer ------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        data = getattr(self.trainer, "datamodule", None)
        classes = getattr(data, "classes", None)
        if classes and any(classes) and getattr(self.flow, "classes", None) != tuple(classes):
            raise ConfigError(
                f"The data has columns of categories, and {type(self.flow).__name__} is not made "
                f"for them: use MixedFlow with classes={list(classes)}."
            )
        if self.preprocess is None:
            preprocess = getattr(data, "preprocess", None)
            if isinstance(preprocess, Transform):  # a foreign one may call anything by this name
                to_recipe(preprocess)  # refuse now what no checkpoint could hold
                self.preprocess = copy.deepcopy(preprocess).to(self.device)
        if self._compile:
            self.compile_parts()
            self._compile = False

    def compile_parts(self) -> None:
        """Compile what is called most; the LightningModule itself stays as it is."""
        self.flow.compile()

    def on_train_start(self) -> None:
        check_optimizers(self.trainer.optimizers)
        if self.global_rank > 0:  # one seed for all ranks would give all of them the same noise
            torch.manual_seed(torch.initial_seed() + self.global_rank)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if not self._initialised:
            x, context = self.unpack(batch)
            if hasattr(self.flow, "initialise"):
                self.flow.initialise(self.to_model_space(x)[0], context)
            self._initialised = True

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, context = self.unpack(batch)
        losses, parts = self.training_loss(x, context)
        loss = losses.mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(x))
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined] # set by a connector
        if parts and every and (self.trainer.global_step + 1) % every == 0:
            logged = {f"train/{name}": value.detach().mean() for name, value in parts.items()}
            self.log_dict(logged, batch_size=len(x))
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._report("val", self.evaluate, batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._report("test", self.evaluate_test, batch)

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """Latents (batch, *latent_shape) and log-densities, or bounds, (batch,) in nats."""
        x, context = self.unpack(batch)
        name = "log_prob" if self.exact else "elbo"
        return {"latent": self.encode(x, context), name: self.log_prob(x, context)}

    def configure_optimizers(self) -> Any:
        parameters = [*self.flow.parameters()]
        if not parameters:
            raise ConfigError(f"{type(self.flow).__name__} has no parameters to train.")
        optimizer = self._optimizer(parameters)
        if self._scheduler is None:
            return optimizer
        scheduler = self._scheduler(optimizer)
        config: dict[str, Any] = {"scheduler": scheduler, "interval": "epoch"}
        if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            config["monitor"] = getattr(scheduler, "monitor", "val/loss")
        return {"optimizer": optimizer, "lr_scheduler": config}

    def on_fit_end(self) -> None:
        """Give TensorBoard's HPARAMS tab the last validation metrics of the run."""
        metrics = {
            f"hp/{name}": float(value)
            for name, value in self.trainer.callback_metrics.items()
            if name.startswith("val/")
        }
        for logger in self.loggers if metrics else ():
            if isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(dict(self.hparams), metrics)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        with suppress(ConfigError):  # a class that nothing can import again is not named
            checkpoint["family"] = to_recipe(type(self))
        if self.preprocess is not None:
            checkpoint["preprocess"] = to_recipe(self.preprocess)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.preprocess is None and checkpoint.get("preprocess") is not None:
            self.preprocess = build_part(checkpoint["preprocess"]).to(self.device)

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **options: Any) -> Self:
        """Make the family again from a checkpoint alone, as Lightning does.

        Args:
            checkpoint_path: file or stream.
            args: as for Lightning's method.
            options: as well; arguments of the constructor replace those of the checkpoint.

        Raises:
            CheckpointError: the file is missing or damaged.
        """
        if isinstance(checkpoint_path, str | Path):
            check_checkpoint(checkpoint_path, weights_only=options.get("weights_only"))
        return super().load_from_checkpoint(checkpoint_path, *args, **options)

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Load weights.

        Raises:
            CheckpointError: they belong to another architecture.
        """
        try:
            return super().load_state_dict(state_dict, strict=strict, assign=assign)
        except RuntimeError as error:
            first = str(error).partition("\n")[2].strip().partition("\n")[0]
            raise CheckpointError(
                f"The checkpoint belongs to another architecture than this "
                f"{type(self).__name__} of {type(self.flow).__name__}: {first}"
            ) from error

    def unpack(self, batch: Any) -> tuple[Tensor, Tensor | None]:
        """Data and context of a batch.

        Raises:
            ShapeError: the data has another shape than the model, or context is missing.
        """
        if isinstance(batch, dict):
            x, context = batch["x"], batch.get("context")
        elif isinstance(batch, Tensor):
            x, context = batch, None
        else:
            x, context = batch[0], batch[1] if len(batch) > 1 else None
        check_batch(x, self.event_shape, "The data of a batch")
        if self.context_shape is None:
            return x, None
        if context is None:
            raise ShapeError("The model needs context, and the batch holds none.")
        return x, context

    def _report(self, stage: str, evaluate: Callable[..., dict[str, Tensor]], batch: Any) -> None:
        x, context = self.unpack(batch)
        values = evaluate(x, context)
        if self._scores_integers and ("nll" in values or "elbo" in values):
            nats = values["nll"] if "nll" in values else -values["elbo"]
            values["bits_per_dim"] = nats / (size(self.event_shape) * math.log(2))
        means = {f"{stage}/{name}": value.mean() for name, value in values.items()}
        # a float: Lightning averages whole numbers over ranks with whole-number division
        self.log_dict(means, batch_size=float(len(x)), sync_dist=True)  # type: ignore[arg-type]

    @property
    def _scores_integers(self) -> bool:
        """Whether log-densities bound log-probabilities of integers: not those on a manifold."""
        on_data = tuple(getattr(self.flow, "manifold_shape", self.event_shape))
        parts = [] if self.preprocess is None else self.preprocess.modules()
        support = getattr(self.flow, "support", None)
        discrete = support is not None and support.discrete
        return size(on_data) == size(self.event_shape) and (
            discrete or any(isinstance(module, Dequantise) for module in parts)
        )

    def _storable_arguments(self) -> dict[str, Any]:
        stored: dict[str, Any] = {}
        for name, value in self._arguments.items():
            try:
                stored[name] = to_recipe(value)
            except ConfigError as error:
                warnings.warn(
                    f"{error} The checkpoint will not hold {name}; to load it, call "
                    f"{type(self).__name__}.load_from_checkpoint(path, {name}=...).",
                    stacklevel=2,
                )
        return stored


def _factory(value: Any) -> Any:
    """A factory as it is, or made from the recipe that a checkpoint holds."""
    return build_factory(value) if is_recipe(value) else value

"""What all families share: data units, preprocessing, logging, optimizers, checkpoints."""

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypedDict

import lightning.pytorch as L
import torch
import torch.distributed as dist
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torchmetrics import Metric

from lightning_flows.bases.base import Density, check_context
from lightning_flows.components import ModelMaps
from lightning_flows.core.errors import CheckpointError, ConfigError, check_from_zero
from lightning_flows.core.kinds import Kind
from lightning_flows.core.noise import Placed, Reproducible
from lightning_flows.core.recipe import (
    Recorded,
    build_factory,
    build_part,
    is_recipe,
    storable,
    to_recipe,
)
from lightning_flows.core.shapes import Shape, as_shape, check_batch, size
from lightning_flows.metrics.mean import StandardError
from lightning_flows.modules.arguments import (
    check_categories,
    check_factories,
    flow_of,
    penalties_of,
    stored_arguments,
)
from lightning_flows.modules.batches import unpacked
from lightning_flows.modules.checkpoints import (
    PlainDataIO,
    check_checkpoint,
    check_optimizers,
    plain_data_only,
    reading,
)
from lightning_flows.modules.options import default_optimizer, logged_options
from lightning_flows.modules.preprocessing import brought_by, warn_of_another
from lightning_flows.modules.ranks import check_even
from lightning_flows.modules.seeding import seed_step
from lightning_flows.objectives import Penalty
from lightning_flows.transforms import Dequantize, Transform
from lightning_flows.transforms.base import encode_inside

__all__ = ["FlowFactory", "FlowModule", "ModuleOptions"]

PREPROCESSED = ("preprocess", "preprocess_context")

FlowFactory = Callable[[Shape], Density]
"""Makes a flow from the shape of one data point: a class, a `functools.partial` or a lambda."""


class ModuleOptions(TypedDict, total=False):
    """What every module takes beside its flow and shapes; see `FlowModule`."""

    penalties: Sequence[Penalty]
    noise: float
    optimizer: OptimizerCallable | None
    scheduler: LRSchedulerCallable | None
    compile: bool
    data_key: str
    context_key: str


class FlowModule(Recorded, L.LightningModule):
    """A flow with its preprocessing, its optimizer and its place in a Trainer.

    `log_prob`, `sample`, `encode` and `decode` speak of data and context in their original units:
    the family takes over the fitted `preprocess` and `preprocess_context` of the DataModule when it
    is first trained, keeps them in its checkpoint, and adds the contribution of the former to every
    likelihood. From then on, and after loading, the preprocessing stays what it is, or is none,
    whatever other data brings; where that differs, a warning says so. A model that is only
    validated or tested takes over nothing.

    A batch is a tensor, a tuple whose first element is the data, or a mapping with the key "x".
    The second element, or the key "context", is context where `context_shape` is set, and is
    ignored otherwise. Data and context may be of any real dtype. Of several validation or test
    loaders, the first one is logged under the plain names, such as `val/loss`, and the second under
    `val/loss/dataloader_idx_1`.

    The random numbers of a training step follow from the seed of the run, the rank, the epoch and
    the number of the batch, so a run that is resumed from a checkpoint of its own is the same run.
    The seed of the run is torch's when it starts (`seed_everything`), and is in its checkpoints.

    Where scores draw noise (lower bounds, dequantized data), validation and test log a standard
    error beside each figure but the loss, as `<stage>/<name>_se`: the standard deviation over
    rows, by the root of their number. It covers what rows were drawn and what noise was drawn for
    them, so it is at least as large as the part that noise has in it. Rows are keyed by their
    content and their place in the split (`core.noise`), which supposes that loaders do not shuffle
    and give rank r of w rows r, r + w, and so on, as Lightning's samplers and ours do.

    Args:
        flow: makes the flow from the event shape. What is made by a function or a lambda, which no
            checkpoint can hold, is stored by the arguments of its own construction.
        event_shape: shape of one data point.
        context_shape: shape of what the density is conditioned on.
        penalties: on the Jacobian of the flow, each with its weight.
        noise: standard deviation of Gaussian noise on preprocessed training data, in its units;
            equivalent to `Tikhonov` with weight noise²/2.
        optimizer: makes the optimizer from the parameters; Adam with learning rate 1e-3 by
            default, fused but where gradients are clipped in mixed precision.
        scheduler: makes the learning rate scheduler from the optimizer; stepped every epoch.
        compile: whether the networks are compiled with `torch.compile`.
        data_key: name of the data in a batch that is a mapping; callbacks ask for it, too.
        context_key: name of the context in such a batch.

    Raises:
        ConfigError: `flow`, `optimizer` or `scheduler` is made already, or makes something else,
            such as a flow that this module does not train; `penalties` is no list of them, or
            `noise` negative; or an argument cannot be stored in a checkpoint and made again.
        ShapeError: the flow is one of other shapes.
    """

    flow: Density
    preprocess: Transform | None
    preprocess_context: Transform | None

    def __init__(
        self,
        flow: FlowFactory,
        event_shape: Sequence[int] | int,
        context_shape: Sequence[int] | int | None = None,
        *,
        penalties: Sequence[Penalty] = (),
        noise: float = 0.0,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
        compile: bool = False,
        data_key: str = "x",
        context_key: str = "context",
    ) -> None:
        super().__init__()
        check_from_zero(noise=noise)
        flow = _factory(flow, torch.nn.Module)
        optimizer = _factory(optimizer, torch.optim.Optimizer)
        scheduler = _factory(scheduler, torch.optim.lr_scheduler.LRScheduler)
        check_factories(flow=flow, optimizer=optimizer, scheduler=scheduler)
        self.event_shape = as_shape(event_shape)
        self.context_shape = (
            None if context_shape is None else as_shape(context_shape, "context_shape")
        )
        self.flow = flow_of(flow, self.event_shape, self.context_shape)
        self.check_flow(self.flow)
        self.penalties = penalties_of(penalties)
        self.noise = noise
        # logged in `_begin`: Lightning refuses a data module whose options have the same names
        self.save_hyperparameters(stored_arguments(self, self._arguments), logger=False)
        self.latent_shape: Shape = self.flow.latent_shape
        self.preprocess = None
        self.preprocess_context = None
        self._takes_over = True  # the preprocessing of the data, at the first fit
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._compile = compile
        self.data_key = data_key
        self.context_key = context_key
        self._run_seed = 0  # that of a checkpoint, where a run is resumed
        self._uninitialized = False
        self._seen = 0  # rows of the present evaluation, on this rank
        self._errors: dict[str, StandardError] = {}

    @property
    def exact(self) -> bool:
        """Whether the flow gives its log-density itself and not a lower bound."""
        return self.flow.exact

    @property
    def kind(self) -> Kind:
        """Whether encoding and decoding draw at random; see `Transform`."""
        return self.flow.kind

    # -- the density in original units ---------------------------------------------------------

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of data in its original units, or a lower bound of it as `exact` says.

        In evaluation mode noise is a hash of each row and of how often it stands in x before.

        Args:
            x: data, (batch, *event_shape).
            context: (batch, *context_shape), or None.

        Returns:
            (batch,), nats.
        """
        with self.noise_of(x):
            y, contribution = self.to_model_space(x)
            log_prob: Tensor = self.flow.log_prob(y, self.to_model_context(context))
        return torch.where(contribution.isfinite(), log_prob + contribution, contribution)

    def sample(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw data: (n, *event_shape), or with context (batch, n, *event_shape)."""
        y: Tensor = self.flow.sample(n, self.to_model_context(context), temperature)
        if self.preprocess is None:
            return y
        flat = y.reshape(-1, *self.preprocess.latent_shape)
        x = self.preprocess.decode(flat)[0]
        return x.reshape(*y.shape[: y.ndim - len(self.event_shape)], *self.event_shape)

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Latents of data: (batch, *event_shape) -> (batch, *latent_shape)."""
        with self.noise_of(x):
            z: Tensor = self.flow.encode(self.to_model_space(x)[0], self.to_model_context(context))
        return z

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Data of latents: (batch, *latent_shape) -> (batch, *event_shape)."""
        z = z.to(self._dtype_of_flow)
        return self.from_model_space(self.flow.decode(z, self.to_model_context(context)))

    def to_model_space(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Preprocess data; returns what the flow sees and the contribution (batch,) in nats.

        Rows that the preprocessing is not made for, such as pixels that are no integers in range,
        have the contribution -inf, and the flow sees another point in their place.

        Data may be integers or of another precision than the model: it is preprocessed as it is,
        so that no digits are lost, and what comes out has the dtype of the flow.
        """
        check_batch(x, self.event_shape, "x")
        dtype = self._dtype_of_flow
        at_least_single = torch.promote_types(dtype, torch.float32)
        if self.preprocess is None:
            return x.to(dtype), torch.zeros(len(x), dtype=at_least_single, device=x.device)
        y, contribution = encode_inside(self.preprocess, x)
        return y.to(dtype), contribution.to(at_least_single)

    def to_model_context(self, context: Tensor | None) -> Tensor | None:
        """Context as the flow sees it, preprocessed and in its dtype; None where there is none."""
        if context is None:
            return None
        if self.preprocess_context is not None:
            check_context(self.context_shape, context)
            context = self.preprocess_context.encode(context)[0]
        return context.to(self._dtype_of_flow)

    @property
    def _dtype_of_flow(self) -> torch.dtype:
        parameters: Iterator[Tensor] = self.flow.parameters()
        kinds = (p.dtype for p in parameters if p.is_floating_point())
        return next(kinds, torch.get_default_dtype())

    def from_model_space(self, y: Tensor) -> Tensor:
        """Undo the preprocessing."""
        return y if self.preprocess is None else self.preprocess.decode(y)[0]

    def model_maps(self, context: Tensor | None = None) -> ModelMaps:
        """The flow and its preprocessing as `components.components` and `traverse` take them.

        α of a Tikhonov term and noise of the training are numbers of preprocessed data:

            found = components(x=x, noise=0.02, **module.model_maps())

        Args:
            context: that of the points, (batch, *context_shape), or None.
        """
        context = self.to_model_context(context)

        def encode(y: Tensor) -> Tensor:
            with self.noise_of(y):
                z: Tensor = self.flow.encode(y, context)
            return z

        def to_model(x: Tensor) -> Tensor:
            with self.noise_of(x):
                return self.to_model_space(x)[0]

        return ModelMaps(
            encode=encode,
            decode=lambda z: self.flow.decode(z, context),
            to_model=to_model,
            from_model=None if self.preprocess is None else self.from_model_space,
        )

    def noise_of(self, x: Tensor) -> Reproducible:
        """One key, the raw data, for all noise of preprocessing and flow in evaluation mode.

        Nothing is drawn for an exact flow but by Dequantize, which has a key of its own.
        """
        return Reproducible(x.float(), not (self.training or self.exact))  # whatever type x has

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Same as `log_prob`."""
        return self.log_prob(x, context)

    # -- what a module supplies ----------------------------------------------------------------

    def check_flow(self, flow: Density) -> None:
        """Refuse a flow that this module does not train.

        Raises:
            ConfigError: names the module that does.
        """

    def training_loss(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """Objective of data and context in original units.

        Returns:
            The loss of each sample, (batch,), and the parts of it that are logged.
        """
        raise NotImplementedError

    def evaluate(self, x: Tensor, context: Tensor | None) -> dict[str, Tensor]:
        """What validation and test report of data and context in original units, each (batch,).

        Among it is "loss", the objective of training up to a constant. Where there is
        "volume/failed", of booleans, these rows are counted, and left out of the mean of a figure
        that is not finite for them.
        """
        raise NotImplementedError

    def noisy(self, y: Tensor) -> Tensor:
        """Preprocessed training data with the noise that was asked for."""
        return y + self.noise * torch.randn_like(y) if self.noise else y

    @property
    def named_penalties(self) -> list[tuple[str, Penalty]]:
        """Penalties with the names they are logged under, the second of a kind as `<name>_2`."""
        seen = Counter[str]()
        named = []
        for penalty in self.penalties:
            seen[penalty.name] += 1
            count = seen[penalty.name]
            named.append((penalty.name if count == 1 else f"{penalty.name}_{count}", penalty))
        return named

    def weighed(
        self, named: Sequence[tuple[str, Penalty]], values: Sequence[Tensor]
    ) -> tuple[Tensor | float, dict[str, Tensor]]:
        """Σ_k λ_k·penalty_k of each sample, (batch,), and the penalties as they are logged.

        Args:
            named: penalties with their names.
            values: of each penalty, (batch,), NaN where it fails, which counts as zero.
        """
        parts = {
            f"penalty/{name}": torch.where(value.detach().isnan(), 0.0, value)
            for (name, _), value in zip(named, values, strict=True)
        }
        weights = [penalty.weight for _, penalty in named]
        return sum(w * part for w, part in zip(weights, parts.values(), strict=True)), parts

    def trained_parameters(self) -> list[torch.nn.Parameter]:
        """What the optimizer moves: the parameters of the flow, unless a family has more."""
        return [*self.flow.parameters()]

    @property
    def scores_draw(self) -> bool:
        """Whether what validation and test report depends on noise."""
        return not (self.exact and (self.preprocess is None or self.preprocess.exact))

    def objective_nll(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The objective as a negative log-density of data space, which it may or may not be.

        Where it is at least -log q(x) for a density q of mass 1, no parameters take its
        expectation below the data's differential entropy; `callbacks.MassCertificate` measures
        whether exp(-objective) has more mass than that.

        Args:
            x: data in original units, (batch, *event_shape).
            context: (batch, *context_shape), or None.

        Returns:
            (batch,), nats.
        """
        return self.evaluate(x, context)["loss"]

    def evaluate_test(self, x: Tensor, context: Tensor | None) -> dict[str, Tensor]:
        """What test reports; as validation unless a family takes more time for it."""
        return self.evaluate(x, context)

    # -- hooks of the Trainer ------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        strategy = self.trainer.strategy
        if type(strategy.checkpoint_io) is TorchCheckpointIO:  # unpickles what an address gives
            strategy.checkpoint_io = PlainDataIO()
        data = getattr(self.trainer, "datamodule", None)
        check_categories(self.flow, data)
        if stage == "fit" and self._takes_over:
            for name in self._preprocessed:
                brought = brought_by(data, name)
                if brought is not None and getattr(self, name) is None:
                    storable(brought)  # refuse now what no checkpoint could hold
                    setattr(self, name, copy.deepcopy(brought).to(self.device))
            self._takes_over = False
        if self._compile:
            self.flow.compile()
            self._compile = False

    def on_fit_start(self) -> None:
        self._begin()

    def on_validation_start(self) -> None:
        if self.trainer.state.fn == TrainerFn.VALIDATING:
            self._begin()

    def on_test_start(self) -> None:
        self._begin()

    def on_predict_start(self) -> None:
        self._begin()

    def _begin(self) -> None:
        """What a run starts with, after a checkpoint has been restored."""
        data = getattr(self.trainer, "datamodule", None)
        for name in self._preprocessed:
            warn_of_another(getattr(self, name), data, name, trained=not self._takes_over)
        if self.trainer.enable_autolog_hparams:
            for logger in self.loggers:
                logger.log_hyperparams(logged_options(self.hparams, data))

    def on_train_start(self) -> None:
        check_even(self)
        check_optimizers(self.trainer.optimizers)
        if self.trainer.ckpt_path is None:
            self._run_seed = self.trainer.strategy.broadcast(torch.initial_seed())
        flags = [flag for name, flag in self.flow.named_buffers() if name.endswith("initialized")]
        self._uninitialized = not all(flags)

    def on_train_epoch_start(self) -> None:
        # a shuffling loader of one's own draws its order now
        seed_step(self._run_seed, self.global_rank, self.current_epoch)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        place = (self._run_seed, self.global_rank, self.current_epoch, batch_idx)
        if self._uninitialized:
            seed_step(*place)
            x, context = self.unpack(batch)
            self.flow.initialize(self.to_model_space(x)[0], self.to_model_context(context))
            self._uninitialized = False
        seed_step(*place)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, context = self.unpack(batch)
        losses, parts = self.training_loss(x, context)
        loss = losses.mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(x))
        logged = {f"train/{name}": value.detach().mean() for name, value in parts.items()}
        self.log_dict(logged, batch_size=len(x))
        return loss

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._report("val", self.evaluate, batch, batch_idx, dataloader_idx)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._report("test", self.evaluate_test, batch, batch_idx, dataloader_idx)

    def predict_step(
        self, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Tensor]:
        """Latents (batch, *latent_shape) and log-densities, or bounds, (batch,) in nats."""
        x, context = self.unpack(batch)
        name = "log_prob" if self.exact else "elbo"
        with self._placed(len(x), batch_idx):
            return {"latent": self.encode(x, context), name: self.log_prob(x, context)}

    def configure_optimizers(self) -> Any:
        parameters = self.trained_parameters()
        if not parameters:
            raise ConfigError(f"{type(self.flow).__name__} has no parameters to train.")
        make = self._optimizer or default_optimizer(self._trainer)
        optimizer = make(parameters)
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
        options = logged_options(self.hparams, getattr(self.trainer, "datamodule", None))
        for logger in self.loggers if metrics else ():
            if isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(options, metrics)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        with suppress(ConfigError):  # a class that nothing can import again is not named
            checkpoint["family"] = to_recipe(type(self))
        for name in PREPROCESSED:
            checkpoint[name] = to_recipe(getattr(self, name))  # None says that there is none
        checkpoint["run_seed"] = self._run_seed

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # in place of what `setup` has taken over a moment ago, where a run is resumed
        for name in PREPROCESSED:
            recipe = checkpoint.get(name)
            part = None if recipe is None else build_part(recipe, Transform).to(self.device)
            setattr(self, name, part)
        self._takes_over = False
        self._run_seed = checkpoint.get("run_seed", 0)

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **options: Any) -> Self:
        """Make the family again from a checkpoint alone, as Lightning does.

        Only plain data is read from the file, wherever it lies, so that it runs no code.

        Args:
            checkpoint_path: file, address or stream.
            args: as for Lightning's method.
            options: as well; arguments of the constructor replace those of the checkpoint.

        Raises:
            CheckpointError: the file is missing or damaged, holds more than plain data, or
                `weights_only` is False.
            ConfigError: it names a class that it may not name; see `lightning_flows.trust`.
        """
        options["weights_only"] = plain_data_only(options.get("weights_only"))
        if isinstance(checkpoint_path, str | Path):
            check_checkpoint(checkpoint_path)
        with reading(checkpoint_path):
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
        """Data and context of a batch, both in original units.

        Raises:
            ShapeError: the data has another shape than the model, or context is missing.
        """
        return unpacked(
            batch,
            self.event_shape,
            self.context_shape,
            data_key=self.data_key,
            context_key=self.context_key,
        )

    @property
    def _preprocessed(self) -> tuple[str, ...]:
        """The preprocessings that this model can have: that of context where it sees any."""
        return PREPROCESSED if self.context_shape is not None else PREPROCESSED[:1]

    def _placed(self, rows: int, batch_idx: int) -> Placed:
        """Where the rows of a batch stand in the split, of which every rank has its share."""
        if batch_idx == 0:
            self._seen = 0
        own = torch.arange(self._seen, self._seen + rows, device=self.device)
        self._seen += rows
        if dist.is_available() and dist.is_initialized():
            own = own * dist.get_world_size() + dist.get_rank()
        return Placed(own)

    def _report(
        self,
        stage: str,
        evaluate: Callable[..., dict[str, Tensor]],
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Log the means; of the first loader under the plain names, which others may monitor."""
        suffix = f"/dataloader_idx_{dataloader_idx}" if dataloader_idx else ""
        x, context = self.unpack(batch)
        with self._placed(len(x), batch_idx):
            values = evaluate(x, context)
        if self._scores_integers and ("nll" in values or "elbo" in values):
            nats = values["nll"] if "nll" in values else -values["elbo"]
            values["bits_per_dim"] = nats / (size(self.event_shape) * math.log(2))
        failed = values.pop("volume/failed", None)
        noisy = self.scores_draw
        for name, value in values.items():
            kept = torch.ones_like(value, dtype=torch.bool)
            if failed is not None:
                kept = ~failed | value.isfinite()
            # a float: Lightning averages whole numbers over ranks with whole-number division
            rows = kept.to(torch.float32).sum()
            mean = torch.where(kept, value, 0.0).sum() / rows.clamp(min=1)
            self._log_of_epoch(f"{stage}/{name}{suffix}", mean, batch_size=rows)
            if noisy and name != "loss":
                key = f"{stage}/{name}_se{suffix}"
                if batch_idx == 0:
                    self._errors[key] = StandardError().to(self.device)
                self._errors[key].update(value[kept])
                self._log_of_epoch(key, self._errors[key], metric_attribute=key)
        if failed is not None:
            count = failed.to(torch.float32).sum()
            self._log_of_epoch(f"{stage}/volume/failed{suffix}", count, reduce_fx="sum")

    def _log_of_epoch(self, name: str, value: Tensor | Metric, **options: Any) -> None:
        options |= {"on_step": False, "on_epoch": True, "sync_dist": True}
        self.log(name, value, add_dataloader_idx=False, **options)

    @property
    def _scores_integers(self) -> bool:
        """Whether log-densities are log-probabilities of integers, or bound them."""
        parts = [] if self.preprocess is None else self.preprocess.modules()
        rounded = any(
            isinstance(part, Dequantize) and size(part.event_shape) == size(self.event_shape)
            for part in parts
        )
        return self.flow.measure == "counting" or (rounded and self.flow.measure == "Lebesgue")


def _factory(value: Any, kind: type) -> Any:
    """A factory as it is, or made from the recipe that a checkpoint holds.

    A flow whose factory could not be stored is stored itself, as a part: it is made here.
    """
    if not is_recipe(value):
        return value
    if value.get("factory", True):
        return build_factory(value, kind)
    part = build_part(value, kind)
    return lambda event_shape, context_shape=None: part

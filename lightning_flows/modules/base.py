"""What every module is: a flow in the units of its data, an objective, a place in a Trainer."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypedDict

import lightning.pytorch as L
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lightning_flows.bases.base import Density
from lightning_flows.components import ModelMaps
from lightning_flows.core.errors import ConfigError, check_from_zero
from lightning_flows.core.kinds import Kind
from lightning_flows.core.noise import Reproducible
from lightning_flows.core.recipe import Recorded, to_recipe
from lightning_flows.core.shapes import Shape, as_shape, check_batch, size
from lightning_flows.core.support import Support
from lightning_flows.modules.arguments import (
    check_categories,
    check_inside,
    check_support,
    factories_of,
    flow_of,
    stored_arguments,
)
from lightning_flows.modules.batches import unpacked
from lightning_flows.modules.checkpoints import (
    PlainDataIO,
    check_checkpoint,
    loading_weights,
    plain_data_only,
    reading,
)
from lightning_flows.modules.evaluation import Evaluation, bits_per_dim, scores_integers
from lightning_flows.modules.hparams import log_options, log_results
from lightning_flows.modules.optimizers import check_optimizers, configured, default_optimizer
from lightning_flows.modules.penalties import named, penalties_of, weighed
from lightning_flows.modules.preprocessing import (
    adopt,
    dtype_of,
    preprocessed,
    preprocessed_context,
    recipes_of,
    restore,
    warn_of_others,
)
from lightning_flows.modules.ranks import check_even
from lightning_flows.modules.seeding import seed_step
from lightning_flows.objectives import Penalty
from lightning_flows.transforms import Transform

__all__ = ["FlowFactory", "FlowModule", "ModuleOptions"]

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
    them, so it is at least as large as the part that noise has in it. Noise is a hash of rows and
    of their places, which supposes that loaders do not shuffle and give rank r of w rows r, r + w,
    and so on, as Lightning's samplers and ours do.

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
        makes = factories_of(flow=flow, optimizer=optimizer, scheduler=scheduler)
        self.event_shape = as_shape(event_shape)
        self.context_shape = (
            None if context_shape is None else as_shape(context_shape, "context_shape")
        )
        self.flow = flow_of(makes["flow"], self.event_shape, self.context_shape)
        self.check_flow(self.flow)
        self.penalties = penalties_of(penalties)
        self.noise = noise
        # logged by `log_options`: Lightning refuses a data module whose options have the same names
        self.save_hyperparameters(stored_arguments(self, self._arguments), logger=False)
        self.latent_shape: Shape = self.flow.latent_shape
        self.preprocess = None
        self.preprocess_context = None
        self._takes_over = True  # the preprocessing of the data, at the first fit
        self._optimizer = makes["optimizer"]
        self._scheduler = makes["scheduler"]
        self._compile = compile
        self.data_key = data_key
        self.context_key = context_key
        self._first_epoch = 0  # of this run or of what was resumed
        self._run_seed = 0  # that of a checkpoint, where a run is resumed
        self._uninitialized = False
        self._unseen = False  # the data, by the flow
        self._evaluation = Evaluation()

    @property
    def exact(self) -> bool:
        """Whether the flow gives its log-density itself and not a lower bound."""
        return self.flow.exact

    @property
    def kind(self) -> Kind:
        """Whether encoding and decoding draw at random; see `Transform`."""
        return self.flow.kind

    @property
    def support(self) -> Support:
        """The set that data lies in, in its original units."""
        domain = None if self.preprocess is None else self.preprocess.domain
        return self.flow.support if domain is None else domain

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
        z = z.to(dtype_of(self.flow))
        return self.from_model_space(self.flow.decode(z, self.to_model_context(context)))

    def to_model_space(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Preprocess data; returns what the flow sees and the contribution (batch,) in nats.

        Rows that the preprocessing is not made for, such as pixels that are no integers in range,
        have the contribution -inf, and the flow sees another point in their place.

        Data may be integers or of another precision than the model: it is preprocessed as it is,
        so that no digits are lost, and what comes out has the dtype of the flow.
        """
        check_batch(x, self.event_shape, "x")
        return preprocessed(self.preprocess, x, dtype_of(self.flow))

    def to_model_context(self, context: Tensor | None) -> Tensor | None:
        """Context as the flow sees it, preprocessed and in its dtype; None where there is none."""
        shape, dtype = self.context_shape, dtype_of(self.flow)
        return preprocessed_context(self.preprocess_context, context, shape, dtype)

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
        that is not finite for them; rows of "unscored" are left out and not counted.
        """
        raise NotImplementedError

    @property
    def scores_draw(self) -> bool:
        """Whether what validation and test report depends on noise."""
        return not (self.exact and (self.preprocess is None or self.preprocess.exact))

    def evaluate_test(self, x: Tensor, context: Tensor | None) -> dict[str, Tensor]:
        """What test reports; as validation unless a family takes more time for it."""
        return self.evaluate(x, context)

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

    def noisy(self, y: Tensor) -> Tensor:
        """Preprocessed training data with the noise that was asked for."""
        return y + self.noise * torch.randn_like(y) if self.noise else y

    @property
    def named_penalties(self) -> list[tuple[str, Penalty]]:
        """Penalties with the names they are logged under, the second of a kind as `<name>_2`."""
        return named(self.penalties)

    def weighed(
        self, pairs: Sequence[tuple[str, Penalty]], values: Sequence[Tensor]
    ) -> tuple[Tensor | float, dict[str, Tensor]]:
        """What penalties add to the loss of each sample, and what is logged of them; `weighed`."""
        return weighed(pairs, values)

    def trained_parameters(self) -> list[torch.nn.Parameter]:
        """What the optimizer moves: the parameters of the flow, unless a family has more."""
        return [*self.flow.parameters()]

    # -- a run ---------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        strategy = self.trainer.strategy
        if type(strategy.checkpoint_io) is TorchCheckpointIO:  # unpickles what an address gives
            strategy.checkpoint_io = PlainDataIO()
        data = getattr(self.trainer, "datamodule", None)
        check_categories(self.flow, data)
        if stage == "fit" and self._takes_over:
            adopt(self, data)
            check_support(self.flow, self.preprocess)
            self._takes_over = False
            self._unseen = True
        if self._compile:
            self.flow.compile()
            self._compile = False

    def configure_optimizers(self) -> Any:
        parameters = self.trained_parameters()
        if not parameters:
            raise ConfigError(f"{type(self.flow).__name__} has no parameters to train.")
        make = self._optimizer or default_optimizer(self._trainer)
        return configured(make(parameters), self._scheduler)

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
        warn_of_others(self, data, trained=not self._takes_over)
        if self.trainer.enable_autolog_hparams:
            log_options(self)

    def on_train_start(self) -> None:
        check_even(self)
        check_optimizers(self.trainer.optimizers)
        if self.trainer.ckpt_path is None:
            self._run_seed = self.trainer.strategy.broadcast(torch.initial_seed())
        self._first_epoch = self.current_epoch
        self._seed_order()  # the hook below is left out after some resumes between two epochs
        flags = [flag for name, flag in self.flow.named_buffers() if name.endswith("initialized")]
        self._uninitialized = not all(flags)

    def on_train_epoch_start(self) -> None:
        self._seed_order()

    def _seed_order(self) -> None:
        """Seed what a shuffling loader of one's own draws its order from.

        An iterator draws a seed for its workers before. In the first epoch of a run that is
        resumed, Lightning has made it already, with other random numbers.
        """
        seed_step(self._run_seed, self.global_rank, self.current_epoch)
        if 0 < self.current_epoch == self._first_epoch:
            torch.empty((), dtype=torch.int64).random_()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        place = (self._run_seed, self.global_rank, self.current_epoch, batch_idx)
        if self._unseen:
            check_inside(self.flow, self.to_model_space(self.unpack(batch)[0])[0])
            self._unseen = False
        if self._uninitialized:
            seed_step(*place)
            x, context = self.unpack(batch)
            self.flow.initialize(self.to_model_space(x)[0], self.to_model_context(context))
            self._uninitialized = False
        seed_step(*place)

    def on_fit_end(self) -> None:
        log_results(self)

    # -- steps ---------------------------------------------------------------------------------

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

    def _report(
        self,
        stage: str,
        evaluate: Callable[..., dict[str, Tensor]],
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        x, context = self.unpack(batch)
        with self._evaluation.placed(len(x), batch_idx, self.device):
            values = evaluate(x, context)
        if scores_integers(self.flow, self.preprocess):
            values |= bits_per_dim(values, size(self.event_shape))
        draw = self.scores_draw
        self._evaluation.log(self, stage, values, batch_idx, dataloader_idx, noisy=draw)

    def predict_step(
        self, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Tensor]:
        """Latents (batch, *latent_shape) and log-densities, or bounds, (batch,) in nats."""
        x, context = self.unpack(batch)
        name = "log_prob" if self.exact else "elbo"
        with self._evaluation.placed(len(x), batch_idx, self.device):
            return {"latent": self.encode(x, context), name: self.log_prob(x, context)}

    # -- checkpoints ---------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        with suppress(ConfigError):  # a class that nothing can import again is not named
            checkpoint["family"] = to_recipe(type(self))
        checkpoint |= recipes_of(self)
        checkpoint["run_seed"] = self._run_seed

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # in place of what `setup` has taken over a moment ago, where a run is resumed
        restore(self, checkpoint)
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
        with loading_weights(self):
            return super().load_state_dict(state_dict, strict=strict, assign=assign)

"""What the families are given, checked where it is given."""

import copy
import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_flows.bases.base import Density
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.core.recipe import Recorded, build_factory, build_part, is_recipe, storable
from lightning_flows.core.shapes import Shape
from lightning_flows.core.signatures import takes
from lightning_flows.core.support import REAL, Columns, Torus, set_of_each
from lightning_flows.flows.injective import InjectiveFlow, PaddedFlow
from lightning_flows.transforms import Transform

__all__ = [
    "check_categories",
    "check_inside",
    "check_support",
    "factories_of",
    "flow_of",
    "part_of",
    "refuse_manifold",
    "require_left_inverse",
    "require_manifold",
    "require_padded",
    "stored_arguments",
    "target_of",
    "warn_of_fixed_profile",
]

T = TypeVar("T")

_MADE = {
    "flow": (nn.Module, "RealNVP or partial(RealNVP, layers=4)"),
    "optimizer": (Optimizer, "torch.optim.Adam or partial(torch.optim.Adam, lr=1e-3)"),
    "scheduler": (LRScheduler, "partial(torch.optim.lr_scheduler.StepLR, step_size=10)"),
}


def factories_of(**given: Any) -> dict[str, Any]:
    """What makes a flow, an optimizer or a scheduler, by the name of the argument.

    Args:
        given: a factory, None, or the recipe of one that a checkpoint holds. A flow whose factory
            could not be stored is stored itself, as a part: it is made here.

    Raises:
        ConfigError: something is made already, or makes nothing; names the argument, what came
            and the remedy.
    """
    factories = {name: _factory(value, _MADE[name][0]) for name, value in given.items()}
    for name, factory in factories.items():
        kind, example = _MADE[name]
        if isinstance(factory, kind):
            raise ConfigError(
                f"{name} is a {type(factory).__name__} that is made already; give what makes it, "
                f"such as {example}."
            )
        if factory is not None and not callable(factory):
            raise ConfigError(f"{name} is {factory!r}; give what makes it, such as {example}.")
    return factories


def _factory(value: Any, kind: type) -> Any:
    if not is_recipe(value):
        return value
    if value.get("factory", True):
        return build_factory(value, kind)
    part = build_part(value, kind)
    return lambda event_shape, context_shape=None: part


def flow_of(factory: Any, event_shape: Shape, context_shape: Shape | None) -> Density:
    """Make the flow, and check that it is a density of the data.

    Raises:
        ConfigError: it is none, or cannot be conditioned.
        ShapeError: it is one of other shapes.
    """
    if context_shape is None:
        flow = factory(event_shape)
    elif takes(factory, "context_shape"):
        flow = factory(event_shape, context_shape=context_shape)
    else:
        raise ConfigError(
            f"context_shape is {context_shape}, and flow does not take one; make it accept the "
            "argument context_shape."
        )
    if not isinstance(flow, Density):
        raise ConfigError(
            f"flow makes a {type(flow).__name__}, which is no Density; give what makes one, such "
            "as RealNVP, or a subclass of lightning_flows.Density with log_prob and draw."
        )
    if flow.event_shape != event_shape:
        raise ShapeError(
            f"flow made a density of event_shape {flow.event_shape}; the data has {event_shape}."
        )
    if flow.context_shape != context_shape:
        raise ShapeError(
            f"flow made a density of context_shape {flow.context_shape}; the model has "
            f"{context_shape}."
        )
    return flow


def stored_arguments(family: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a family as plain data, from which a checkpoint makes it again.

    Args:
        family: the family, whose flow is made.
        arguments: those of its construction, by their names.

    Raises:
        ConfigError: one of them cannot be stored, or not be given again by its name.
    """
    for parameter in inspect.signature(type(family)).parameters.values():
        positional = (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY)
        if parameter.kind in positional and arguments.get(parameter.name):
            raise ConfigError(
                f"{type(family).__name__} takes {parameter.name} by position alone, and a "
                "checkpoint could not give that again: let its constructor name each argument."
            )
    stored: dict[str, Any] = {}
    for name, value in arguments.items():
        if isinstance(value, np.ndarray):  # Lightning asks whether it equals something else
            raise ConfigError(f"{name} is an array, {value!r}; give a list or a tuple.")
        try:
            stored[name] = storable(value)
        except ConfigError as error:
            made = _recipe_of_flow(family.flow) if name == "flow" else None
            if made is None:
                raise ConfigError(f"{name}: {error}") from error
            stored[name] = made
    return stored


def _recipe_of_flow(flow: Any) -> dict[str, Any] | None:
    """A flow as a part, where it can be made again with the same kind of weights."""
    if not (isinstance(flow, Recorded) and isinstance(flow, nn.Module)):
        return None
    try:
        recipe = storable(flow)
        with torch.random.fork_rng(devices=[]):
            again = build_part(recipe)
    except ConfigError:
        return None
    own, other = (
        {name: (value.shape, value.dtype) for name, value in each.state_dict().items()}
        for each in (flow, again)
    )
    return {**recipe, "factory": False} if own == other else None


def refuse_manifold(family: object, flow: Density) -> None:
    """Refuse densities on a manifold that they learn, whose `log_prob` is that of projections.

    Raises:
        ConfigError: names the family that trains them.
    """
    if isinstance(flow, InjectiveFlow) and flow.measure == "Riemannian volume":
        other = "RectangularModule" if isinstance(flow, PaddedFlow) else "FreeFormModule"
        raise ConfigError(
            f"{type(family).__name__} trains densities on all of data space, and "
            f"{type(flow).__name__} is one on a manifold: use {other} or TwoStepModule."
        )


def warn_of_fixed_profile(flow: Density) -> None:
    """Warn of a flow that has parameters, and yet cannot change how high its density is.

    A map that preserves volume moves the values of the base density about, so the likelihood is at
    most what the decreasing rearrangement of the data allows (Draxler et al. 2024,
    arXiv 2402.06578).
    """
    if flow.fixed_profile and [*flow.parameters()]:
        rank_zero_warn(
            f"Every layer of {type(flow).__name__} preserves volume and its base is fixed, so that "
            "no training fits heights and weights of modes: add a layer that scales "
            "(ElementwiseAffine, ActNorm; scaling=True of NICE), or a Radial one, or take "
            "RadialBase as the base."
        )


def require_manifold(family: object, flow: Density) -> None:
    """Refuse densities that are not on a manifold.

    Raises:
        ConfigError: names the family that trains them.
    """
    if not isinstance(flow, InjectiveFlow):
        raise ConfigError(
            f"{type(family).__name__} trains densities on a manifold, such as PaddedFlow and "
            f"FreeFormFlow, and {type(flow).__name__} is one on all of data space: use "
            "DensityModule or SurjectiveModule."
        )
    if flow.moves_with_context:
        raise ConfigError(
            f"{type(family).__name__} trains manifolds that are the same for every context, and "
            f"that of {type(flow).__name__} moves with it: train the whole flow, and truncate it "
            "afterwards."
        )


def require_left_inverse(family: object, flow: Density) -> None:
    """Refuse flows whose encoder has to learn to invert their decoder.

    Raises:
        ConfigError: names the family that trains them.
    """
    if isinstance(flow, InjectiveFlow) and not flow.left_inverse:
        raise ConfigError(
            f"{type(family).__name__} trains flows whose project undoes their embed, such as "
            f"PaddedFlow; {type(flow).__name__} has an encoder that learns it: use FreeFormModule."
        )


def require_padded(family: object, flow: Density) -> None:
    """Refuse flows that have no coordinates off their manifold.

    Raises:
        ConfigError: names the family that trains them.
    """
    if not isinstance(flow, PaddedFlow):
        raise ConfigError(
            f"{type(family).__name__} trains PaddedFlow, whose bijection has coordinates off the "
            f"manifold; {type(flow).__name__} has none: use VariationalModule or FreeFormModule."
        )


def check_categories(flow: Density, data: Any) -> None:
    """Refuse data with columns of categories that the flow is not made for.

    Args:
        flow: the density.
        data: a data module, ours or foreign, or None.

    Raises:
        ConfigError: names the flow that is, and its option.
    """
    classes = getattr(data, "classes", None)  # a foreign data module has none
    if classes and any(classes) and flow.classes != tuple(classes):
        fitting = "AssignmentFlow or MixedFlow" if all(classes) else "MixedFlow"
        raise ConfigError(
            f"The data has columns of categories, and {type(flow).__name__} is not made for them: "
            f"use {fitting} with classes={list(classes)}."
        )


def check_support(flow: Density, preprocess: Transform | None) -> None:
    """Refuse a flow that lives on other sets than the preprocessing leads columns to.

    Args:
        flow: the density.
        preprocess: what stands before it, or None.

    Raises:
        ConfigError: names the flow that is made for angles, and its option.
    """
    leads = None if preprocess is None else preprocess.codomain
    if not isinstance(leads, Torus | Columns) or leads == flow.support:
        return
    sets = set_of_each(leads, flow.event_shape[0])
    turning = [place for place, each in enumerate(sets) if isinstance(each, Torus)]
    if turning:
        raise ConfigError(
            f"The data has periodic columns, and {type(flow).__name__} lives on {flow.support}: "
            f"use CircularSplineFlow with periodic={turning}."
        )


def check_inside(flow: Density, y: Tensor) -> None:
    """Refuse data of which most lies where a flow has no density.

    Args:
        flow: the density.
        y: a batch of what it sees.

    Raises:
        ConfigError: says how many rows, and where the flow lives.
    """
    if flow.support == REAL:
        return
    outside = int((~flow.support.contains(y)).sum())
    if outside > len(y) / 2:
        raise ConfigError(
            f"{outside} of the first {len(y)} rows lie outside of {flow.support}, where "
            f"{type(flow).__name__} lives: preprocess the data, degrees by Arrays with periodic "
            "and period=360, or take another flow."
        )


def part_of(value: Any, kind: type[T], name: str, example: str) -> T:
    """A part of the objective, made from its recipe where a checkpoint brings that.

    Raises:
        ConfigError: it is something else.
    """
    if is_recipe(value):
        value = build_part(value, kind)
    if not isinstance(value, kind):
        raise ConfigError(f"{name} is {value!r}; give an object such as {example}.")
    return value


def target_of(value: Any) -> Any:
    """The target, made where its class or a partial of one is given; its parameters are fixed.

    Raises:
        ConfigError: it has no log_prob, or does not remember how it was made.
    """
    if is_recipe(value):
        value = build_factory(value) if value.get("factory", False) else build_part(value)
    named = isinstance(value, type | partial)
    if named:
        try:
            value = value()
        except TypeError as error:
            raise ConfigError(f"target cannot be made without arguments: {error}.") from error
    if not callable(getattr(value, "log_prob", None)):
        raise ConfigError(
            f"target is {value!r}, which has no log_prob; give what has log_prob(x), such as "
            "targets.Ring(), or a class of it."
        )
    if not isinstance(value, Recorded) and not named:
        raise ConfigError(
            f"target is a {type(value).__name__} that no checkpoint could make again; give its "
            "class or a functools.partial of that, or let it be a subclass of targets.Target."
        )
    target = copy.deepcopy(value)
    return target.requires_grad_(False) if isinstance(target, nn.Module) else target

"""What a module and its data allow: its two maps, and how events can be drawn."""

from typing import Any, Literal

from torch import Tensor

from lightning_flows.components.extract import ModelMaps
from lightning_flows.components.options import Through

from ..base import Scene

__all__ = ["drawn_as", "draws", "maps", "through_of"]


def drawn_as(scene: Scene) -> Literal["image", "point"] | None:
    """What events can be drawn as."""
    x = scene.points.x[:1]
    if scene.to_image is not None and scene.to_image(x)[0].numel() == x[0].numel():
        return "image"
    return "point" if x[0].numel() in (2, 3) else None


def maps(scene: Scene, context: tuple[Tensor, ...]) -> ModelMaps:
    """The flow and its preprocessing for points with this context.

    A module without `model_maps` has no preprocessing that could be told apart: its encoder takes
    data, and its decoder gives them.
    """
    module = scene.module
    if callable(getattr(module, "model_maps", None)):
        found: ModelMaps = module.model_maps(*context)
        return found
    return ModelMaps(
        encode=lambda x: module.encode(x, *context),
        decode=lambda z: module.decode(z, *context),
        to_model=None,
        from_model=None,
    )


def draws(module: Any) -> bool:
    """Whether its decoder draws at random."""
    return getattr(module, "kind", None) in ("inference surjection", "stochastic")


def through_of(module: Any, chosen: Through | None) -> Through:
    """Which of its maps is differentiated; what was chosen if anything was."""
    return chosen or (
        "encode" if getattr(module, "kind", 0) == "inference surjection" else "decode"
    )

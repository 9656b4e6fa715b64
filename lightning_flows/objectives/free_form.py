"""Volume of free-form injective flows: the encoder's Jacobian stands in for the pseudo-inverse."""

from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_flows.core.errors import ConfigError, check_least
from lightning_flows.jacobians.products import Map, each, pullback, tangents
from lightning_flows.objectives.failures import Embedded, elsewhere, where_rows
from lightning_flows.objectives.stochastic import probes_like
from lightning_flows.objectives.volume import Volume

__all__ = ["FreeFormVolume"]

Target = Literal["encoder", "decoder", "probe"]
At = Literal["x", "x_hat", "x_hat_detached"]


class FreeFormVolume(Volume):
    """Surrogate whose gradient is that of the log-volume where encoder and decoder are consistent.

    With f the encoder, g the decoder and f' = (g')⁺, which minimal reconstruction error implies,
    ∇ ½ log det g'ᵀg' = tr(f' ∇g') = -tr(∇f' g') (Sorrenson et al. 2024, section 4). One
    vector-Jacobian product of f and one Jacobian-vector product of g for each probe v estimate the
    trace, whatever the two networks are. The value is zero; only the gradient counts.

    Where f' is evaluated decides about stability: with f' at the data point x the loss is bounded
    below; with f' at the reconstruction x̂ and a gradient through x̂ it is not.

    Args:
        target: which Jacobian carries the gradient: the encoder's, the decoder's, or for each
            probe the one that also repairs the round trip: the decoder's where
            vᵀf'g'v > ‖v‖², so that shrinking g' is called for, else the encoder's.
        at: where f' is evaluated: at the data, at the reconstruction, or there without a gradient
            through it. The latter two cost another pass of the encoder.
        probes: number of probe vectors for each sample.

    Raises:
        ConfigError: an unknown option, or no probe.
    """

    measures = False

    def __init__(self, *, target: Target = "encoder", at: At = "x", probes: int = 1) -> None:
        for name, value, accepted in (("target", target, Target), ("at", at, At)):
            if value not in get_args(accepted):
                raise ConfigError(f"{name} is {value!r}; accepted are {get_args(accepted)}.")
        check_least(1, probes=probes)
        self.target = target
        self.at = at
        self.probes = probes

    def __call__(self, encode: Map, decode: Map, x: Tensor) -> Embedded:
        u, pull = pullback(encode, x)
        v = probes_like(u, self.probes)
        x_hat, surrogate = self._estimate(encode, decode, u, pull, v)
        sound = surrogate.detach().isfinite()
        if not sound.all():
            if sound.any():
                broken = u.detach(), x_hat.detach()
                u, pull = pullback(encode, elsewhere(x, sound))
                x_hat, surrogate = self._estimate(encode, decode, u, pull, v)
                u, x_hat = where_rows(sound, u, broken[0]), where_rows(sound, x_hat, broken[1])
            surrogate = torch.where(sound, surrogate, torch.nan)
        return Embedded(u, x_hat, surrogate - surrogate.detach())

    def _estimate(
        self, encode: Map, decode: Map, u: Tensor, pull: Map, v: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Reconstructions and the surrogate, (batch,), from the pullback of the encoder at x."""
        x_hat, pushed = tangents(decode, u, v, graph=self.target != "encoder")
        pushed = pushed.flatten(2)
        if self.at != "x":
            _, pull = pullback(encode, x_hat if self.at == "x_hat" else x_hat.detach())
        pulled = each(pull, v).flatten(2)
        through_encoder = -(pulled * pushed.detach()).sum(2)
        through_decoder = (pulled.detach() * pushed).sum(2)
        surrogate = {
            "encoder": through_encoder,
            "decoder": through_decoder,
            "probe": torch.where(through_decoder > u.shape[1], through_decoder, through_encoder),
        }[self.target].mean(0)
        return x_hat, surrogate

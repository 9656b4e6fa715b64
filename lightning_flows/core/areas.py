"""Areas of the level sets of ‖x‖_p."""

import math

import numpy as np

from lightning_flows.core.errors import ConfigError, check_least, check_positive

__all__ = ["log_lp_area", "log_lp_volume"]

NEGLIGIBLE = 40.0  # what falls by so many powers of e is left out
STEP = 0.06  # of the trapezoid rule, which converges exponentially here


def log_lp_volume(features: int, p: float) -> float:
    """Log-volume of the unit ball ‖x‖_p ≤ 1, (2 Γ(1 + 1/p))^d / Γ(1 + d/p).

    Args:
        features: d.
        p: exponent, positive.

    Raises:
        ConfigError: an argument is out of range.
    """
    check_least(1, features=features)
    check_positive(p=p)
    return features * (math.log(2) + math.lgamma(1 + 1 / p)) - math.lgamma(1 + features / p)


def log_lp_area(features: int, p: float) -> float:
    """Log-area of the set ‖x‖_p = 1 in d dimensions; that of level k has (d - 1) log k more.

    The area is d V E‖∇‖x‖_p‖₂ under the cone measure, which x = g / ‖g‖_p follows where the density
    of g is ∝ exp(-Σ |g_i|^p) (Schechtman and Zinn 1990). Length and direction of g are independent,
    so that with S = Σ |g_i|^(2p-2)

        E‖∇‖x‖_p‖₂ = E√S / E‖g‖_p^(p-1),   E√S = ∫ (1 - φ(t)^d) t^(-3/2) dt / 2√π,

    φ being the Laplace transform of |g_i|^(2p-2): integrals in one dimension instead of one in d.

    Args:
        features: d, two or more.
        p: exponent, positive.

    Returns:
        Nats.

    Raises:
        ConfigError: an argument is out of range; p may be from 0.1 to 100.
    """
    check_least(2, features=features)
    if not 0.1 <= p <= 100:
        raise ConfigError(f"p is {p}; accepted are numbers from 0.1 to 100.")
    log_volume = log_lp_volume(features, p)
    rise = min(1.0, 0.5 / (1 - p)) if p < 1 else 1.0  # of 1 - φ(t), as a power of small t
    s = np.arange(-NEGLIGIBLE / (rise - 0.5), 2 * NEGLIGIBLE, 2 * STEP)  # log t
    power = 2 - 2 / p
    lowest = min(-NEGLIGIBLE * p, s[0] / abs(power) - 10 if p < 1 else 0)
    y = np.arange(lowest, 6.0, STEP)  # log u, where u = |g|^p has a Gamma distribution
    weights = STEP * np.exp(y / p - np.exp(y) - math.lgamma(1 / p))
    with np.errstate(divide="ignore", over="ignore"):
        gone = np.array([-weights @ np.expm1(-np.exp((t + power * y).clip(-700))) for t in s])
        inside = -np.expm1(features * np.log1p(-np.minimum(gone, 1.0)))
    root = 2 * STEP * (inside @ np.exp(-s / 2)) / (2 * math.sqrt(math.pi))
    log_length = math.lgamma((features + p - 1) / p) - math.lgamma(features / p)
    return math.log(features) + log_volume + math.log(root) - log_length

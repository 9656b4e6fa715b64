"""Whether the two directions of a map draw at random."""

from typing import Literal

__all__ = ["Kind"]

Kind = Literal["bijection", "inference surjection", "generative surjection", "stochastic"]
"""Which of encoding and decoding are deterministic (Nielsen et al. 2020).

Bijection: both. Inference surjection: encoding alone, so likelihoods are exact. Generative
surjection: decoding alone. Stochastic: none of them.
"""

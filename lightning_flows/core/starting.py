"""Setting parameters from a first batch of data, however deep the layers stand that ask for it.

What a layer inside of bases, priors, conditional densities and inverses sees of the data is known
only by leading the data there. So `initialize` scores a batch inside of `with Starting():`, and
each layer that starts from data (`ActNorm`) sets its parameters when its turn comes.
"""

from __future__ import annotations

import threading

__all__ = ["Starting", "starting"]


class _Current(threading.local):
    def __init__(self) -> None:  # in every thread, so that what torch.compile traces sets no key
        self.on = False


_current = _Current()


class Starting:
    """While it lasts, layers that start from data set their parameters from what they see."""

    def __enter__(self) -> None:
        self.before = _current.on
        _current.on = True

    def __exit__(self, *error: object) -> None:
        _current.on = self.before


def starting() -> bool:
    """Whether parameters are to be set from what a layer sees."""
    return _current.on

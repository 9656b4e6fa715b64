"""What is compiled as one piece."""

from torch import nn

__all__ = ["Network"]


class Network(nn.Module):
    """A network that is called as a whole; flows that are compiled by parts compile these."""

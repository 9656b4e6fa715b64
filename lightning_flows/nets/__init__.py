"""Networks that parametrise transforms and densities."""

from lightning_flows.nets.masked import MaskedLinear, MaskedMLP
from lightning_flows.nets.mlp import MLP, Net, ResidualMLP, make_net

__all__ = ["MLP", "MaskedLinear", "MaskedMLP", "Net", "ResidualMLP", "make_net"]

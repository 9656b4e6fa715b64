"""Networks that parametrize transforms, densities, encoders and decoders."""

from lightning_flows.nets.autoencoder import (
    MLPDecoder,
    MLPEncoder,
    ResidualDecoder,
    ResidualEncoder,
)
from lightning_flows.nets.convolutional import Attention, ConvDecoder, ConvEncoder, ConvNet
from lightning_flows.nets.masked import MaskedLinear, MaskedMLP
from lightning_flows.nets.mlp import MLP, Net, ResidualMLP, make_net

__all__ = [
    "MLP",
    "Attention",
    "ConvDecoder",
    "ConvEncoder",
    "ConvNet",
    "MLPDecoder",
    "MLPEncoder",
    "MaskedLinear",
    "MaskedMLP",
    "Net",
    "ResidualDecoder",
    "ResidualEncoder",
    "ResidualMLP",
    "make_net",
]

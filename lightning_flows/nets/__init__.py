"""Networks that parametrize transforms, densities, encoders, decoders and vector fields."""

from lightning_flows.nets.autoencoder import (
    MLPDecoder,
    MLPEncoder,
    ResidualDecoder,
    ResidualEncoder,
)
from lightning_flows.nets.convolutional import Attention, ConvDecoder, ConvEncoder, ConvNet
from lightning_flows.nets.fields import FieldFactory, FieldMLP, VectorField
from lightning_flows.nets.masked import MaskedLinear, MaskedMLP
from lightning_flows.nets.mlp import MLP, Net, ResidualMLP, make_net

__all__ = [
    "MLP",
    "Attention",
    "ConvDecoder",
    "ConvEncoder",
    "ConvNet",
    "FieldFactory",
    "FieldMLP",
    "MLPDecoder",
    "MLPEncoder",
    "MaskedLinear",
    "MaskedMLP",
    "Net",
    "ResidualDecoder",
    "ResidualEncoder",
    "ResidualMLP",
    "VectorField",
    "make_net",
]

"""Data modules: data in memory, with shapes, splits and preprocessing."""

from .arrays import Arrays
from .base import FlowDataModule, Splits, split_indices
from .classes import one_hot
from .draws import Draws
from .images import MNIST, Digits, FashionMNIST, ImageDataModule
from .known_manifolds import Earth, Torsion
from .loader import InMemoryLoader
from .not_mnist import NotMNIST
from .tables import BSDS300, GAS, HEPMASS, MINIBOONE, POWER, TableDataModule
from .toy import Toy

__all__ = [
    "BSDS300",
    "GAS",
    "HEPMASS",
    "MINIBOONE",
    "MNIST",
    "POWER",
    "Arrays",
    "Digits",
    "Draws",
    "Earth",
    "FashionMNIST",
    "FlowDataModule",
    "ImageDataModule",
    "InMemoryLoader",
    "NotMNIST",
    "Splits",
    "TableDataModule",
    "Torsion",
    "Toy",
    "one_hot",
    "split_indices",
]

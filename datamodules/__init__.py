"""Data modules: data in memory, with shapes, splits and preprocessing."""

from .arrays import Arrays
from .base import FlowDataModule, Splits, split_indices
from .images import MNIST, Digits, FashionMNIST, ImageDataModule
from .loader import InMemoryLoader
from .toy import Toy

__all__ = [
    "MNIST",
    "Arrays",
    "Digits",
    "FashionMNIST",
    "FlowDataModule",
    "ImageDataModule",
    "InMemoryLoader",
    "Splits",
    "Toy",
    "split_indices",
]

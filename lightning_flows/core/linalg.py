"""Linear algebra in half precision, which LAPACK does not know."""

import torch
from torch import Tensor

__all__ = ["solve_triangular", "widened"]


def widened(values: Tensor) -> Tensor:
    """Half precision as single precision, for what LAPACK does; anything else as it is."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def solve_triangular(factor: Tensor, y: Tensor, **options: bool) -> Tensor:
    """`torch.linalg.solve_triangular` in the dtype of y, half precision included."""
    x: Tensor = torch.linalg.solve_triangular(widened(factor), widened(y), **options)
    return x.to(y.dtype)

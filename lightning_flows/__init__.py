"""Normalizing flows that learn where data lies and how densely, on PyTorch Lightning."""

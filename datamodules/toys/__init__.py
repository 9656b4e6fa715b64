"""Toy distributions, with their densities where they are known."""

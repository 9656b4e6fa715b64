"""Surjections and stochastic maps: what they drop or add is scored by a density."""

"""Bijections: the contribution is log|det ∂z/∂x|."""

"""Charts of known manifolds: bijections onto coordinates, which densities of vectors score.

Data lies on a manifold in a space of more dimensions, and densities refer to its Riemannian
volume: the contribution is -½ log det JᵀJ, J the Jacobian of `decode`.
"""

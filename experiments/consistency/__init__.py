"""Does the density on a manifold come closer with more data?"""

"""What keeps the likelihood of a manifold from growing without bound?"""

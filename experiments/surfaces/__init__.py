"""Is the last component of a flow the normal of the surface?"""

"""How does the time of a step grow with the dimensions?"""

"""Does joint training learn the density on a circle better than two steps do?"""

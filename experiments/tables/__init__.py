"""Does joint training model tables better than two steps do?"""

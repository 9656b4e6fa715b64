"""Do flows report the rank of a table whose columns depend on each other?"""

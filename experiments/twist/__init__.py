"""Does the likelihood fix the components?"""

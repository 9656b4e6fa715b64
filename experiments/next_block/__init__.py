"""Does the affine gain say what the next block will gain?"""

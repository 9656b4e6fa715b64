"""How well do the volume strategies agree with the exact gradient?"""

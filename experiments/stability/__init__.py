"""Which volume term keeps joint training stable?"""

"""How many latents does the truncation curve of a flow pick?"""

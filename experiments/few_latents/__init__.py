"""Do flows of few latents tell foreign images?"""

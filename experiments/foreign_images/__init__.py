"""Which scores of which models tell foreign images?"""

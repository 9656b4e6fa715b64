"""Experiments: one folder a question, with what it computes, what it found and how that reads."""

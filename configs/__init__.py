"""Configurations, one for each data set and model."""

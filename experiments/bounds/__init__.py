"""Whether the loss falls below the entropy of the data while it trains."""

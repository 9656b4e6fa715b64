"""What flows lose that preserve volume, and what repairs it."""

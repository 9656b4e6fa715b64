"""Whether a bounded objective models tables better than the joint ones that are not bounded."""

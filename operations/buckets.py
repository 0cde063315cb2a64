"""The bounds that lags are counted by."""

BUCKETS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)
"""Seconds; a message counts in the first one that its wait does not exceed."""

"""Marks that decorators leave on consumers, for routes to find."""

ORDERED = "trunkline_ordered"
"""Attribute of a consumer: True, or, of a class with a method for each channel, the channels that are ordered."""

"""Protocol servers, one bus, plain functions."""

__version__ = "0.1.0"

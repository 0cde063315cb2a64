"""Messages to consumers: routing, the worker loop and what consumers use."""

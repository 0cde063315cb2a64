"""The Redis engine: one bus for many machines."""

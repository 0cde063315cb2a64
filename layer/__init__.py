"""How messages travel: one contract, several engines."""

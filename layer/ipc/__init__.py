"""The ipc engine: one machine, many processes, nothing to install beside it."""

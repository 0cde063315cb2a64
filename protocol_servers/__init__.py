"""Sockets to messages and back: one base class, one module or package per protocol."""

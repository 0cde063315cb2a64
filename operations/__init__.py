"""Running a process: settings, logging, signals and drain."""

from .documentation import reference
from .errors import ExitError, SettingsError, StartError, UsageError
from .settings import Configuration, load

__all__ = ["Configuration", "ExitError", "SettingsError", "StartError", "UsageError", "load", "reference"]

"""The errors that end a command, each with the exit code a script can rely on.

    ExitError             1   failed while running, or the grace was exceeded
    ├── UsageError        2   wrong usage or configuration
    │   └── SettingsError 2   a setting: names the key's path, what was wrong, what would be right
    └── StartError        3   could not start: port taken, layer away

The text of each is one line for a person, saying what to do next; the command line prints it and no traceback.
"""


class ExitError(Exception):
    """End the command with `code`, printing the error's text as one line."""

    code = 1


class UsageError(ExitError):
    """Say that the command was called, or configured, wrongly."""

    code = 2


class SettingsError(UsageError):
    """Say which settings are wrong.

    Args:
        problems: One line each, naming the key's path, what was wrong and what would be right. At least one.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        more = len(self.problems) - 1
        return self.problems[0] + (f" (and {more} more: trunkline check lists them)" if more else "")


class StartError(ExitError):
    """Say that a process could not start, although its configuration is right."""

    code = 3

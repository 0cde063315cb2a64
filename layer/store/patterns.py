"""Which channels are said to be durable, and whether two who say so agree.

redis/scripts/agree.lua has the same rule.
"""

from collections.abc import Mapping

from ..errors import LayerError


def merge(known: Mapping[str, float], patterns: Mapping[str, float]) -> None:
    """Look whether patterns agree with those that are known.

    Patterns that may name the same channel have to say the same, so that their order does not matter.

    Raises:
        LayerError: They do not.
    """
    for pattern, visibility in patterns.items():
        for other, theirs in known.items():
            if visibility != theirs and overlap(pattern, other):
                raise disagreement(pattern, visibility, other, theirs)


def disagreement(pattern: str, visibility: float, other: str, theirs: float) -> LayerError:
    """Return the error of two patterns of the same channels that do not say the same."""
    return LayerError(
        f"channels {pattern!r} are said to be {_said(visibility)}, but in this layer {other!r} are {_said(theirs)}: "
        "all processes have to say the same of a channel"
    )


def overlap(one: str, other: str) -> bool:
    """Tell whether any name matches both patterns, in which only `*` is special."""
    # For each beginning of `other`, whether a name of it can be one of what was looked at of `one`
    fits = [not other[:end].strip("*") for end in range(len(other) + 1)]
    for sign in one:
        before, fits = fits, [fits[0] and sign == "*"]
        for end, against in enumerate(other, 1):
            if "*" in (sign, against):
                fits.append(before[end] or fits[end - 1] or (sign == against and before[end - 1]))
            else:
                fits.append(sign == against and before[end - 1])
    return fits[-1]


def _said(visibility: float) -> str:
    return f"durable with a visibility timeout of {visibility:g} s" if visibility else "not durable"

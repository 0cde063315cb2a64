"""mIRC's formatting (https://modern.ircdocs.horse/formatting): taken out, and carried from one line to the next."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

CODE = r"\x03(?:[0-9]{1,2}(?:,[0-9]{1,2})?)?|\x04(?:[0-9a-fA-F]{6}(?:,[0-9a-fA-F]{6})?)?|[\x02\x0f\x11\x16\x1d-\x1f]"
_CODE = re.compile(CODE)
_RESET = "\x0f"
_SEPARATOR = "\x02\x02"  # bold on and off: what follows is no part of the colour


def plain(text: str) -> str:
    """Return ``text`` without its formatting."""
    return _CODE.sub("", text)


@dataclass(frozen=True, slots=True)
class Formatting:
    """The formatting that is on at some place in a text.

    Attributes:
        toggles: What is on of bold, italics and so on.
        foreground, background: The colours, two or six digits each, or "".
        palette: The code that introduces them, 0x03 for two digits and 0x04 for six.
    """

    toggles: str = ""
    palette: str = "\x03"
    foreground: str = ""
    background: str = ""

    def after(self, code: str) -> Formatting:
        """Return the formatting past one code that `CODE` matches."""
        if code == _RESET:
            return Formatting()
        if code[0] not in "\x03\x04":
            without = self.toggles.replace(code, "")
            return replace(self, toggles=without if without != self.toggles else self.toggles + code)
        foreground, _, background = code[1:].partition(",")
        if not foreground:
            return Formatting(self.toggles)
        digits = 2 if code[0] == "\x03" else 6
        if not background and code[0] == self.palette:
            background = self.background
        return Formatting(self.toggles, code[0], foreground.zfill(digits), background and background.zfill(digits))

    def opening(self) -> str:
        """Return the codes that turn it on at the beginning of a line, whatever text follows."""
        if not self.foreground:
            return self.toggles
        return (
            self.toggles + self.palette + self.foreground + ("," + self.background if self.background else _SEPARATOR)
        )

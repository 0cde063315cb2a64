"""What a person newly wrote in a mail: the text without quoted history and signature.

Plain conventions only, each read line by line in linear time: ``>`` quotes with the line that introduces them ("On …
wrote:"), the ``-- `` signature (RFC 3676 section 4.3), "Original Message" separators and the header block that Outlook
puts above a quote.
"""

from __future__ import annotations

import re
from itertools import islice

_MAX_INTRODUCTION = 4  # lines an introduction may be wrapped over
_INTRODUCTION = re.compile(
    r"\b(?:wrote|writes|said|schrieb|écrit|escribió|ha scritto|scrive|schreef|skrev|escreveu|napisał\(?a?\)?|pisze|"
    r"kirjoitti|написал\(?а?\)?|пишет|írta|napsal\(?a?\)?)\b.{0,200}:\s*\Z",
    re.IGNORECASE | re.DOTALL,
)
_FIRST_WORDS = ("On ", "Am ", "Le ", "El ", "Il ", "Op ", "Den ", "Em ", "W dniu ", "Dne ")
_DIGIT = re.compile(r"\d")
# Where everything new has been said: a signature, or what a mail client puts above the mail it answers. It begins with
# the line end before it, and in a case that counts, because the search for what is literal is what is fast.
_END = re.compile(
    r"\n(?:-- ?$|"
    r"-{2,}+ ?(?:Original Message|Original-Nachricht|Ursprüngliche Nachricht|Message d'origine|Mensaje original|"
    r"Messaggio originale|Oorspronkelijk bericht|Mensagem original) ?-{2,}|"
    r"(\*?(?:From|Von|De) ?:))",
    re.MULTILINE,
)
_OUTLOOK = re.compile(
    r"^\*?(From|Sent|To|Subject|Von|Gesendet|An|Betreff|De|Envoyé|À|Objet|Date|Cc) ?:", re.IGNORECASE | re.MULTILINE
)
_MAX_LAST_LINES = 5
_MAX_ENDS = 50  # looked at, so that a mail full of "From:" lines costs little
_OUTLOOK_BLOCK = 1000  # characters in which three of its headers must stand
_DEVICE = re.compile(
    r"(?:Sent from my |Get Outlook for |Sent from Outlook|Von meinem .{1,40} gesendet|Gesendet von |Envoyé de mon )",
    re.IGNORECASE,
)


def reply_text(text: str) -> str:
    """Return `text` (LF line ends) without quoted history and signature: what a person newly wrote."""
    text = "\n" + text
    for end in islice(_END.finditer(text), _MAX_ENDS):
        if end[1] is None or _is_outlook_block(text[end.start() : end.start() + _OUTLOOK_BLOCK]):
            text = text[: end.start()]
            break
    if "\n>" in text:
        text = "\n".join(_without_quotes(text[1:].split("\n")))
    text = text.strip("\n").rstrip()
    for _ in range(_MAX_LAST_LINES):
        last = text[text.rfind("\n") + 1 :]
        if not last or not (_DEVICE.match(last) or set(last) == {"_"}):
            break
        text = text[: len(text) - len(last)].rstrip()
    return text + "\n" if text else ""


def _without_quotes(lines: list[str]) -> list[str]:
    kept: list[str] = []
    for line in lines:
        if line.startswith(">"):
            _drop_introduction(kept)
        elif line.strip() or (kept and kept[-1]):
            kept.append(line.rstrip())
    return kept


def _drop_introduction(kept: list[str]) -> None:
    """Remove from the end of `kept` the line, maybe wrapped, that says who is quoted. Rather too little than too much:
    what stands before it is what the person wrote.
    """
    end = len(kept)
    while end and not kept[end - 1]:
        end -= 1
    if not end or not kept[end - 1].endswith(":"):
        return
    for start in range(end - 1, max(-1, end - 1 - _MAX_INTRODUCTION), -1):
        if not kept[start]:
            break
        if kept[start].startswith(_FIRST_WORDS):
            sentence = "\n".join(kept[start:end])
            if _DIGIT.search(sentence) and ("@" in sentence or _INTRODUCTION.search(sentence)):  # they all say when
                del kept[start:]
                return
    last = kept[end - 1]
    if _INTRODUCTION.search(last) or ("@" in last and _DIGIT.search(last)):
        del kept[end - 1 :]


def _is_outlook_block(text: str) -> bool:
    """Tell whether a quote's header block ("From: …", "Sent: …", "To: …") begins here."""
    return len({found[1].lower() for found in _OUTLOOK.finditer(text)}) >= 3

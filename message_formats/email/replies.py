"""What a person newly wrote in a mail: the text without quoted history and signature.

Plain conventions only, each read in linear time: ``>`` quotes with the line that introduces them ("On … wrote:"), the
``-- `` signature (RFC 3676 section 4.3), and what mail clients put above a mail that they do not quote: such a line, an
"Original Message" separator, or Outlook's block of headers. `docs/reference/reply-text.md` has them all, client by
client. `mail-parser-reply` knows as many, and took 2 s for 4 000 empty lines, four times as long for twice as many.
"""

from __future__ import annotations

import re
from itertools import islice

_MAX_INTRODUCTION = 4  # lines an introduction may be wrapped over
_VERBS = (
    r"wrote|writes|said|schrieb|écrit|escribió|ha scritto|scrive|schreef|skrev|escreveu|napisał\(?a?\)?|pisze|"
    r"nadesłał|kirjoitti|написал\(?а?\)?|пишет|írta|napsal\(?a?\)?|yazdı|γράψει|έγραψε"
)
_INTRODUCTION = re.compile(
    rf"(?:\b(?:{_VERBS})(?!\w)|写道|寫道|님이 작성).{{0,200}}[:：]\s*\Z", re.IGNORECASE | re.DOTALL
)
_COLON = re.compile(r"[:：][ \t]*$", re.MULTILINE)
_FIRST_WORDS = (
    "On ", "Am ", "Le ", "El ", "Il ", "Op ", "Den ", "Em ", "W dniu ", "Dnia ", "Dne ", "Il giorno ", "Pe ", "Στις ",
)  # fmt: skip
_DIGIT = re.compile(r"\d")
_TIME = re.compile(r"\d{1,2}[:.h]\d{2}")
# Where everything new has been said: a signature, or what a mail client puts above the mail it answers. It begins with
# the line end before it, and in a case that counts, because the search for what is literal is what is fast.
_END = re.compile(
    r"\n(?:-- ?$|"
    r"-{2,}+ ?(?:Original Message|Original-Nachricht|Ursprüngliche Nachricht|Message d'origine|Message d’origine|"
    r"Mensaje original|Messaggio originale|Oorspronkelijk bericht|Mensagem original|Oprindelig meddelelse|"
    r"Ursprungligt meddelande|Opprinnelig melding|Alkuperäinen viesti|Wiadomość oryginalna|Původní zpráva|"
    r"Исходное сообщение|Eredeti üzenet|元のメッセージ|原始邮件|原始郵件|원본 메시지) ?-{2,}|"
    r"_{30,}+\n[^\n]{1,100}mailing list$|"
    r"(\*?(?:From|Von|De|Da|Van|Od|Fra|Från|Lähettäjä|От|Feladó|Gönderen|Από|差出人|发件人|寄件者|보낸 사람)"
    r"\*? ?[:：]))",
    re.MULTILINE,
)
_OUTLOOK = re.compile(
    r"^\*?("
    r"From|Sent|To|Cc|Subject|Date|Von|Gesendet|An|Betreff|Datum|De|Envoyé|À|Objet|Enviad[oa](?: el)?|Para|Asunto|"
    r"Assunto|Da|Inviato|A|Oggetto|Van|Verzonden|Aan|Onderwerp|Od|Wysłano|Do|Temat|Odesláno|Komu|Předmět|Fra|Sendt|"
    r"Til|Emne|Från|Skickat|Till|Ämne|Lähettäjä|Lähetetty|Vastaanottaja|Aihe|От|Отправлено|Кому|Тема|Feladó|Küldve|"
    r"Címzett|Tárgy|"
    r"Gönderen|Gönderildi|Kime|Konu|Από|Στάλθηκε|Προς|Θέμα|差出人|送信日時|宛先|件名|发件人|发送时间|收件人|主题|"
    r"寄件者|寄件日期|收件者|主旨|보낸 사람|보낸 날짜|받는 사람|제목"
    r")\*? ?[:：]",
    re.IGNORECASE | re.MULTILINE,
)
_MAX_SENTENCE = 1000  # characters of an introduction
_MAX_GAP = 200  # white space that may be between it and what it introduces
_MAX_LAST_LINES = 5
_MAX_ENDS = 50  # looked at, so that a mail full of "From:" lines costs little
_OUTLOOK_BLOCK = 1000  # characters in which three of its headers must stand
# A device and no sentence: few words follow.
_DEVICE = re.compile(
    r"(?:Sent from my|Sent from Mail|Sent from Outlook|Sent from Yahoo|Sent (?:from|with|using) Proton|Sent via|"
    r"Get Outlook for|Von meinem|Gesendet von|Gesendet mit|Gesendet aus|Envoyé de(?:puis)?|Télécharger Outlook|"
    r"Enviado (?:desde|do|de)|Obtener Outlook|Inviato da|Scarica Outlook|Verzonden vanaf|Verstuurd vanaf|"
    r"Verzonden vanuit|Wysłane? z|Skickat från|Sendt fra|Lähetetty|Odesláno z|Отправлено (?:с|из)|Küldve|Trimis de|"
    r"Στάλθηκε από)\b[^\s]*(?:[ \t]+[^\s]+){0,7}[ \t]*\Z|"
    r"[^\s]{1,20}から送信\Z|나의 [^\s]{1,20} 보냄\Z|(?:发自我的|從我的) ?[^\s]{1,20}(?: 傳送)?\Z",
    re.IGNORECASE,
)
_MAX_DEVICE = 80


def reply_text(text: str) -> str:
    """Return `text` (LF line ends) without quoted history and signature: what a person newly wrote."""
    text = "\n" + text
    for end in islice(_END.finditer(text), _MAX_ENDS):
        if end[1] is None or _is_outlook_block(text[end.start() : end.start() + _OUTLOOK_BLOCK]):
            text = text[: end.start()]
            break
    text = _before_history(text)
    if "\n>" in text:
        text = "\n".join(_without_quotes(text[1:].split("\n")))
    text = text.strip("\n").rstrip()
    for _ in range(_MAX_LAST_LINES):
        last = text[text.rfind("\n") + 1 :]
        if not last or not (_is_device(last) or set(last) == {"_"}):
            break
        text = text[: len(text) - len(last)].rstrip()
    return text + "\n" if text else ""


def _before_history(text: str) -> str:
    """Cut a text, with a line end before it, where one introduces what it does not quote: everything below is old."""
    for colon in islice(_COLON.finditer(text), _MAX_ENDS):
        end = colon.end()
        if text[end : end + _MAX_GAP].lstrip().startswith(">"):
            continue  # it may be answered in between
        above = text[max(0, end - _MAX_SENTENCE) : end].split("\n")[1:][-_MAX_INTRODUCTION:]
        start = _start_of_introduction(above)
        if start is None:
            continue
        sentence = "\n".join(above[start:])
        # A sentence of the writer's own hardly says at what o'clock somebody wrote.
        if _TIME.search(sentence) and (_INTRODUCTION.search(sentence) or sentence.rstrip(": \t：").endswith(">")):
            return text[: end - len(sentence)]
    return text


def _start_of_introduction(lines: list[str]) -> int | None:
    """Return which of the lines the sentence that ends with them begins with: one that begins as such do, or the first
    of their paragraph; None where that is further up.
    """
    for number in range(len(lines) - 1, -1, -1):
        if lines[number].startswith(_FIRST_WORDS):
            return number
        if number and not lines[number - 1].strip():
            return number
    return None


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
    if not end or not kept[end - 1].endswith((":", "：")):
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


def _is_device(line: str) -> bool:
    """Tell the line by which a telephone says what it is."""
    return len(line) <= _MAX_DEVICE and _DEVICE.match(line) is not None


def _is_outlook_block(text: str) -> bool:
    """Tell whether a quote's header block ("From: …", "Sent: …", "To: …") begins here."""
    return len({found[1].lower() for found in _OUTLOOK.finditer(text)}) >= 3

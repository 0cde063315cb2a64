"""SendGrid's Inbound Parse, with the raw mail where "POST the raw, full MIME message" is on.

https://www.twilio.com/docs/sendgrid/for-developers/parsing-email/setting-up-the-inbound-parse-webhook
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from ....operations.secret import Secret
from ...http_core.hooks import HookRequest
from .believing import check_password, check_sendgrid
from .forms import Form, read_form
from .posted import Malformed, Posted, read_object
from .rebuilt import Attachment, Text, rebuilt_mail

_FOLD = re.compile(r"[\r\n]+")
_HEADER_END = re.compile(r"\r?\n(?![ \t])")


class SendGrid:
    """Mails of SendGrid.

    Args:
        secret: "user:password", which stand in the address that it posts to, or the public key that it signs with.
        wall: Unix time in seconds.
    """

    refused = 406  # any of 4xx; what gets 5xx is tried again for three days
    asks = False

    def __init__(self, secret: Secret, wall: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._wall = wall

    def read(self, request: HookRequest) -> Posted:
        """Return the mail in a request."""
        if ":" in self._secret.value:
            check_password(request, self._secret)
        else:
            check_sendgrid(request, self._secret.value, self._wall())
        form = read_form(request.header(b"content-type") or b"", request.body)
        if "envelope" not in form:
            raise Malformed("its form has no envelope")
        envelope = read_object(form["envelope"].content)
        sender, recipients = envelope.get("from"), envelope.get("to")
        if isinstance(recipients, str):
            recipients = [recipients]
        if not isinstance(sender, str | None) or not isinstance(recipients, list):
            raise Malformed("its envelope makes no sense")
        if not all(isinstance(each, str) for each in recipients):
            raise Malformed("its envelope makes no sense")
        raw = form["email"].content if "email" in form else _rebuilt(form)
        return Posted(raw, sender or "", recipients, form["sender_ip"].text if "sender_ip" in form else "")


def _rebuilt(form: Form) -> bytes:
    if "headers" not in form:
        raise Malformed("its form has no mail")
    lines = (_FOLD.sub("", line) for line in _HEADER_END.split(form["headers"].text.strip("\r\n")))
    headers = [(name, value) for name, colon, value in (line.partition(":") for line in lines) if colon]
    charsets = _object(form, "charsets")
    texts = {
        name: Text(form[name].content, str(charsets.get(name, "utf-8"))) if name in form else None
        for name in ("text", "html")
    }
    told = _object(form, "attachment-info")
    files = []
    for name, field in form.items():
        if field.filename is not None:
            info = told.get(name)
            content_id = str(info.get("content-id", "")) if isinstance(info, dict) else ""
            files.append(Attachment(field.filename, field.content_type, field.content, content_id))
    return rebuilt_mail(headers, texts["text"], texts["html"], files)


def _object(form: Form, name: str) -> dict[str, Any]:
    return read_object(form[name].content) if name in form else {}

"""Mailgun's routes: `forward("https://…")`, with the raw mail where the address ends with "mime".

https://documentation.mailgun.com/docs/mailgun/user-manual/receive-forward-store/receive-http
"""

from __future__ import annotations

import hashlib
import json

from ...http_core.hooks import HookRequest
from .believing import MailgunSignatures
from .forms import Field, Form, read_form
from .posted import Malformed, Posted, Unbelieved
from .rebuilt import Attachment, Text, rebuilt_mail


class Mailgun:
    """Mails of Mailgun.

    Args:
        signatures: Who sent them.
    """

    refused = 406  # every other status but 200 is tried again for eight hours
    asks = False

    def __init__(self, signatures: MailgunSignatures) -> None:
        self._signatures = signatures

    def read(self, request: HookRequest) -> Posted:
        """Return the mail in a request."""
        form = read_form(request.header(b"content-type") or b"", request.body)
        try:
            timestamp, token, signature = (form[name].text for name in ("timestamp", "token", "signature"))
        except KeyError:
            raise Unbelieved("it is not signed") from None
        self._signatures.check(timestamp, token, signature)
        sender, recipient = (form.get(name, Field(b"")).text for name in ("sender", "recipient"))
        raw = form["body-mime"].content if "body-mime" in form else _rebuilt(form)
        mail = hashlib.sha256(b"\0".join((recipient.encode(), raw))).digest()
        self._signatures.use(token, mail)
        return Posted(raw, sender, [each.strip() for each in recipient.split(",")])


def _rebuilt(form: Form) -> bytes:
    try:
        headers = json.loads(form["message-headers"].text)
        pairs = [(str(name), str(value)) for name, value in headers]
        ids = json.loads(form["content-id-map"].text) if "content-id-map" in form else {}
        content_ids = {str(field): str(id) for id, field in ids.items()}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        raise Malformed("its form has no mail") from None
    files = [
        Attachment(field.filename, field.content_type, field.content, content_ids.get(name, ""))
        for name, field in form.items()
        if field.filename is not None
    ]
    text, html = ((Text(form[name].content) if name in form else None) for name in ("body-plain", "body-html"))
    return rebuilt_mail(pairs, text, html, files)

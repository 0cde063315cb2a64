"""Postmark's inbound webhook, with the raw mail where "Include raw email content in JSON payload" is on.

https://postmarkapp.com/developer/webhooks/inbound-webhook
"""

from __future__ import annotations

import base64
import binascii
from email.utils import formataddr
from typing import Any

from ....operations.secret import Secret
from ...http_core.hooks import HookRequest
from .believing import check_password
from .posted import Malformed, Posted, read_object, text_of
from .rebuilt import Attachment, Text, rebuilt_mail


class Postmark:
    """Mails of Postmark.

    Args:
        secret: "user:password", which stand in the address that it posts to.
    """

    refused = 403  # every other status but 200 is tried again for ten hours
    asks = False

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    def read(self, request: HookRequest) -> Posted:
        """Return the mail in a request."""
        check_password(request, self._secret)
        payload = read_object(request.body)
        headers = _pairs(payload.get("Headers"))
        said = {name.lower(): value for name, value in reversed(headers)}
        sender = said.get("return-path", text_of(payload, "From", "")).strip(" <>")
        raw = text_of(payload, "RawEmail", "").encode("utf-8", "replace") or _rebuilt(payload, headers, set(said))
        return Posted(raw, sender, [text_of(payload, "OriginalRecipient")])


def _rebuilt(payload: dict[str, Any], headers: list[tuple[str, str]], said: set[str]) -> bytes:
    names = {"From": "FromFull", "To": "ToFull", "Cc": "CcFull"}
    more = [(name, ", ".join(_addresses(payload.get(key)))) for name, key in names.items()]
    more += [(name, text_of(payload, name.replace("-", ""), "")) for name in ("Subject", "Date", "Reply-To")]
    headers = headers + [(name, value) for name, value in more if value and name.lower() not in said]
    text, html = (text_of(payload, name, "") for name in ("TextBody", "HtmlBody"))
    return rebuilt_mail(
        headers,
        Text(text.encode("utf-8", "replace")) if text or not html else None,
        Text(html.encode("utf-8", "replace")) if html else None,
        [_attachment(each) for each in _list(payload.get("Attachments"))],
    )


def _attachment(given: dict[str, Any]) -> Attachment:
    try:
        content = base64.b64decode(text_of(given, "Content", ""), validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("an attachment is not base64") from None
    kind = text_of(given, "ContentType", "").partition(";")[0].strip()
    return Attachment(text_of(given, "Name", ""), kind, content, text_of(given, "ContentID", ""))


def _pairs(given: Any) -> list[tuple[str, str]]:
    return [(text_of(each, "Name"), text_of(each, "Value", "")) for each in _list(given)]


def _addresses(given: Any) -> list[str]:
    pairs = [(_whole(text_of(each, "Name", "")), text_of(each, "Email", "")) for each in _list(given)]
    return [formataddr((name, address)) if address.isascii() else address for name, address in pairs]


def _whole(text: str) -> str:
    """Replace halves of surrogate pairs, which JSON may have and no mail."""
    return text.encode("utf-8", "replace").decode()


def _list(given: Any) -> list[dict[str, Any]]:
    """Return a list of objects; one alone is one, too."""
    found = given if isinstance(given, list) else [] if given is None else [given]
    if not all(isinstance(each, dict) for each in found):
        raise Malformed("a list in it makes no sense")
    return found

"""Amazon SES, whose receipt rules put whole mails on a topic of SNS: the action "SNS", up to 150 KB a mail.

https://docs.aws.amazon.com/ses/latest/dg/receiving-email-notifications-contents.html
"""

from __future__ import annotations

import base64
import binascii
import logging
from typing import Any

from ....operations.secret import Secret
from ...http_core.hooks import HookAnswer, HookRequest
from .believing import check_password
from .posted import Malformed, Posted, read_object, text_of
from .sns import Topic

_MAX_BODY = 1024 * 1024  # a message of SNS has 256 KiB, and JSON within JSON may be some times as long
_VERDICTS = {"PASS": "pass", "FAIL": "fail", "PROCESSING_FAILED": "temperror"}

_log = logging.getLogger("trunkline.email")


class Ses:
    """Mails of SES.

    Args:
        topic: Where they come from.
        secret: "user:password", where they stand in the address that it posts to; None: only the signature counts.
    """

    refused = 406  # any of 4xx; what gets 5xx is tried again for up to an hour
    asks = True

    def __init__(self, topic: Topic, secret: Secret | None) -> None:
        self._topic = topic
        self._secret = secret

    def read(self, request: HookRequest) -> Posted | HookAnswer:
        """Return the mail in a request, or what it is to be answered that has none."""
        if self._secret is not None:
            check_password(request, self._secret)
        if len(request.body) > _MAX_BODY:  # until it was read, nobody knows who sent it
            raise Malformed("it is too long for a message of SNS")
        message = read_object(request.body)
        kind = self._topic.check(message)
        if kind == "SubscriptionConfirmation":
            self._topic.confirm(message)
            _log.info("the subscription to a topic of Amazon SNS was confirmed")
        elif kind == "UnsubscribeConfirmation":
            _log.warning("a topic of Amazon SNS has no subscription any more: no mail will come from it")
        else:
            return _notification(text_of(message, "Message"))
        return HookAnswer.text(200, "thank you")


def _notification(text: str) -> Posted | HookAnswer:
    if not text.lstrip().startswith("{"):
        return HookAnswer.text(200, "a note for people")  # such as the one with which SES tries a new rule
    told = read_object(text)
    if told.get("notificationType") != "Received":
        return HookAnswer.text(200, "no mail")
    mail, receipt = told.get("mail"), told.get("receipt")
    if not isinstance(mail, dict) or not isinstance(receipt, dict):
        raise Malformed("its mail makes no sense")
    if "content" not in told:
        raise Malformed('it has no mail: the action of the receipt rule has to be "SNS", and a mail below 150 KB')
    recipients = receipt.get("recipients")
    if not isinstance(recipients, list) or not all(isinstance(each, str) for each in recipients):
        raise Malformed("its recipients make no sense")
    sender = text_of(mail, "source", "")
    return Posted(_content(told, receipt), sender, recipients, spf=_spf(receipt, sender))


def _content(told: dict[str, Any], receipt: dict[str, Any]) -> bytes:
    content = text_of(told, "content")
    action = receipt.get("action")
    if not isinstance(action, dict) or str(action.get("encoding", "")).upper() != "BASE64":
        return content.encode("utf-8", "replace")
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("its mail is not base64") from None


def _spf(receipt: dict[str, Any], sender: str) -> dict[str, Any] | None:
    verdict = receipt.get("spfVerdict")
    status = verdict.get("status") if isinstance(verdict, dict) else None
    if not sender or not isinstance(status, str):
        return None
    domain = sender.rpartition("@")[2].lower()
    return {"result": _VERDICTS.get(status, "none"), "domain": domain, "identity": "mailfrom"}

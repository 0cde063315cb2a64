"""One mail for one recipient: addresses, the mail's identity, and the ``email.receive`` message."""

from __future__ import annotations

import copy
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from .mime import Node, ParsedMail


def split_address(address: str) -> tuple[str, str | None, str]:
    """Split an address into (local part without tag, tag after the first ``+`` or None, domain). Each may be empty;
    nothing is refused.
    """
    local, at, domain = address.rpartition("@")
    if not at:
        local, domain = domain, ""
    if local.startswith('"'):  # in a quoted local part (RFC 5321 section 4.1.2) a plus sign is a letter as any other
        return local, None, domain
    name, plus, tag = local.partition("+")
    return name, tag if plus else None, domain


def normalise_address(address: str) -> tuple[str, str | None]:
    """Return (the address with its domain lower-cased, its tag or None). The local part is the receiver's own business
    and stays as it is.
    """
    _, tag, domain = split_address(address)
    return address[: len(address) - len(domain)] + domain.lower() if domain else address, tag


def mail_id(sender: str | None, address: str, message_id: str, raw: bytes) -> str:
    """Return the identity of a mail for one recipient: the same when the sender repeats it.

    Args:
        sender: the envelope sender; None for a bounce.
        address: the recipient, normalised.
        message_id: the mail's Message-ID; without one a repeat cannot be told, and the identity is random.
        raw: the received bytes, or their digest where the mail goes to many.

    Returns:
        64 hexadecimal digits.
    """
    if not message_id:
        return secrets.token_hex(32)
    digest = hashlib.sha256()
    for piece in ((sender or "").encode(), address.encode(), message_id.encode(), raw):
        digest.update(len(piece).to_bytes(8, "big"))
        digest.update(piece)
    return digest.hexdigest()


def receive_message(
    parsed: ParsedMail,
    *,
    reply_channel: str,
    id: str,
    address: str,
    sender: str | None,
    to: Sequence[str],
    client: Sequence[Any] | None,
    helo: str,
    tls: bool = False,
    auth_user: str | None = None,
    authentication: Mapping[str, Any] | None = None,
    body_channels: Mapping[int, str] | None = None,
    body_keys: Mapping[int, str] | None = None,
) -> dict[str, Any]:
    """Build the ``email.receive`` of one recipient. It shares nothing mutable with any other's.

    Args:
        parsed: the mail.
        reply_channel: where this recipient's answer goes.
        id: from `mail_id`.
        address: this recipient as in the envelope; the domain is lower-cased here.
        sender: envelope sender; None: a bounce, which is never answered.
        to: all envelope recipients.
        client: [host, port] of the peer.
        helo: the name the peer gave.
        tls: whether it came over TLS.
        auth_user: who logged in.
        authentication: who sent it, as far as that is known.
        body_channels: the body channel of each leaf of ``parsed.large``, by its index; or
        body_keys: what each of them is stored as.

    Returns:
        The message, without keys that would be None.
    """
    address, tag = normalise_address(address)
    fields = parsed.fields
    message: dict[str, Any] = {
        **fields,
        "headers": dict(fields["headers"]),
        "header_list": [list(pair) for pair in fields["header_list"]],
        "content": _copied_node(fields["content"], body_channels or {}, body_keys or {}),
        "attachments": [{**each, "path": list(each["path"])} for each in fields["attachments"]],
        "defects": list(fields["defects"]),
        "reply_channel": reply_channel,
        "id": id,
        "address": address,
        "to": list(to),
        "helo": helo,
        "tls": tls,
    }
    if authentication is not None:
        message["authentication"] = copy.deepcopy(authentication)
    if "bounce" in fields:
        message["bounce"] = copy.deepcopy(fields["bounce"])
    if sender is None:
        message["auto_submitted"] = True
    optional = {"from": sender, "tag": tag, "client": None if client is None else list(client), "auth_user": auth_user}
    message.update({key: value for key, value in optional.items() if value is not None})
    return message


def _copied_node(node: Node, body_channels: Mapping[int, str], body_keys: Mapping[int, str]) -> Node:
    copied = dict(node)
    if "parts" in node:
        copied["parts"] = [_copied_node(part, body_channels, body_keys) for part in node["parts"]]
    elif "body_channel" in node:
        index = copied.pop("body_channel")
        if index in body_keys:
            copied["body_key"] = body_keys[index]
        else:
            copied["body_channel"] = body_channels[index]
    if "headers" in node:
        copied["headers"] = dict(node["headers"])
    return copied

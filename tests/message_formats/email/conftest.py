from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from trunkline import message_formats
from trunkline.message_formats.email import parse_mail, receive_message

MAX_MESSAGE = 2 * 1024 * 1024  # the layer's default max_size


@pytest.fixture
def received() -> Callable[[bytes], dict[str, Any]]:
    """Parse a mail into its `email.receive`, which must fit its format and the layer's size, whatever the mail."""

    def receive(raw: bytes) -> dict[str, Any]:
        parsed = parse_mail(raw)
        message = receive_message(
            parsed,
            reply_channel="smtp.reply.x!y",
            id="id",
            address="you@example.org",
            sender="me@example.org",
            to=["you@example.org"],
            client=("192.0.2.1", 25),
            helo="client.example.org",
            body_channels={number: f"email.body?{number}" for number in range(len(parsed.large))},
        )
        format = message_formats.get("email.receive")
        assert format is not None
        format.validate(message)
        packed = msgpack.packb(message)  # refuses lone surrogates too
        assert len(packed) < MAX_MESSAGE
        assert msgpack.unpackb(packed) == message
        return message

    return receive

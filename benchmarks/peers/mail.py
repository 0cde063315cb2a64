"""A mail server by aiosmtpd on uvloop, for smtp_data.py: python mail.py PORT parsed|taken."""

# mypy: disable-error-code="import-not-found, import-untyped"

import asyncio
import email
import email.policy
import sys
from typing import Any

import uvloop
from aiosmtpd.smtp import SMTP

PARSED = sys.argv[2] == "parsed"


class Handler:
    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if PARSED:
            mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
            body = mail.get_body(("plain", "html"))
            assert mail["subject"] is not None
            assert body is not None
            assert body.get_content()
        return "250 OK"


async def main() -> None:
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: SMTP(Handler(), hostname="mx.example.org"), "127.0.0.1", int(sys.argv[1]))
    await asyncio.Event().wait()


uvloop.run(main())

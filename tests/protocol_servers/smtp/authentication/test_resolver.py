"""The real resolver, asking a DNS server of the test's own on loopback."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
import uvloop

from trunkline.protocol_servers.smtp.authentication import load_authenticator, resolver
from trunkline.protocol_servers.smtp.authentication.lookups import LookupFailed
from trunkline.protocol_servers.smtp.authentication.resolver import DnsResolver

RECORDS = {
    ("example.org.", "TXT"): ['"v=spf1 " "-all"', '"other"'],
    ("example.org.", "MX"): ["10 mx.example.org."],
    ("mx.example.org.", "A"): ["192.0.2.1", "192.0.2.2"],
    ("mx.example.org.", "AAAA"): ["2001:db8::1"],
    ("1.2.0.192.in-addr.arpa.", "PTR"): ["mx.example.org."],
}


@pytest.fixture
def port() -> Iterator[int]:
    """A DNS server; it is silent on "silent.example.", and out of order for "broken.example."."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    stopping = threading.Event()

    def serve() -> None:
        while not stopping.is_set():
            data, client = server.recvfrom(4096)
            if data == b"stop":
                return
            query = dns.message.from_wire(data)
            question = query.question[0]
            name = question.name.to_text()
            if name == "silent.example.":
                continue
            answer = dns.message.make_response(query)
            answer.flags |= dns.flags.RA
            known = {each for each, _ in RECORDS}
            found = RECORDS.get((name, dns.rdatatype.to_text(question.rdtype)))
            if name == "broken.example.":
                answer.set_rcode(dns.rcode.SERVFAIL)
            elif found is not None:
                answer.answer.append(dns.rrset.from_text_list(question.name, 60, "IN", question.rdtype, found))
            elif name not in known:
                answer.set_rcode(dns.rcode.NXDOMAIN)
            server.sendto(answer.to_wire(), client)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield server.getsockname()[1]
    stopping.set()
    server.sendto(b"stop", server.getsockname())
    thread.join(30)
    server.close()


def ask(port: int, question: Callable[[DnsResolver], Any], lifetime: float = 20) -> Any:
    """Ask on the loop that servers run on."""

    async def asking() -> Any:
        asked = DnsResolver()
        asked._resolver.nameservers = ["127.0.0.1"]
        asked._resolver.port = port
        asked._resolver.lifetime = lifetime
        return await question(asked)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asking())


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test depend on how the machine is set up."""
    monkeypatch.setattr(dns.asyncresolver.Resolver, "read_resolv_conf", lambda *_: None)


def test_records(port: int) -> None:
    assert sorted(ask(port, lambda asked: asked.texts("example.org"))) == [b"other", b"v=spf1 -all"]
    assert ask(port, lambda asked: asked.names("example.org", "MX")) == ["mx.example.org"]
    assert sorted(ask(port, lambda asked: asked.names("mx.example.org", "A"))) == ["192.0.2.1", "192.0.2.2"]
    assert ask(port, lambda asked: asked.names("mx.example.org.", "AAAA")) == ["2001:db8::1"]
    assert ask(port, lambda asked: asked.names("1.2.0.192.in-addr.arpa", "PTR")) == ["mx.example.org"]


def test_what_is_not_there(port: int) -> None:
    assert ask(port, lambda asked: asked.texts("nobody.example")) == []
    assert ask(port, lambda asked: asked.names("example.org", "A")) == []


@pytest.mark.parametrize("name", ["broken.example", "silent.example", "a" * 64 + ".example", "a..example"])
def test_what_nobody_can_say(port: int, name: str) -> None:
    with pytest.raises(LookupFailed):
        ask(port, lambda asked: asked.texts(name), 0.5)


def test_without_the_extra_or_a_dns_nobody_judges(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unconfigured() -> Any:
        raise resolver.Unconfigured

    monkeypatch.setattr(resolver, "DnsResolver", unconfigured)
    assert load_authenticator(asyncio.to_thread) is None
    assert "knows no DNS server" in caplog.text
    monkeypatch.setitem(sys.modules, "trunkline.protocol_servers.smtp.authentication.resolver", None)
    assert load_authenticator(asyncio.to_thread) is None

"""Every example of the README and the docs runs: a page's Python blocks are executed in order, in one namespace."""

import re
import sys
import tomllib
import types
from pathlib import Path
from typing import Any

import pytest

from trunkline.layer import MemoryLayer, open_layer
from trunkline.operations.tables import table
from trunkline.protocol_servers.http import HttpSettings
from trunkline.protocol_servers.smtp import SmtpSettings
from trunkline.workers import Worker
from trunkline.workers.testing import Client

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def hello(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offer the README's hello.py as the module that other examples import."""
    module = types.ModuleType("hello")
    exec(compile(blocks(ROOT / "README.md")[0], "hello.py", "exec"), module.__dict__)  # noqa: S102
    monkeypatch.setitem(sys.modules, "hello", module)


def namespace_of(page: Path) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "example"}
    for number, block in enumerate(blocks(page), 1):
        exec(compile(block, f"{page.name} block {number}", "exec"), namespace)  # noqa: S102
    return namespace


def tables_of(page: Path) -> dict[str, Any]:
    blocks = re.findall(r"^```toml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return tomllib.loads("\n".join(blocks))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_run(page: Path) -> None:
    """The blocks run, the tests in them pass, and a routing in them can be loaded."""
    namespace = namespace_of(page)
    for name, value in list(namespace.items()):
        if name.startswith("test_"):
            value()
    if "routing" in namespace:
        Client(namespace["routing"])


def test_pages_with_examples_are_found() -> None:
    assert sum(bool(blocks(page)) for page in PAGES) >= 7


def test_first_steps_does_what_it_says() -> None:
    client = Client(namespace_of(ROOT / "docs/tutorial/first-steps.md")["routing"])
    assert client.http("GET", "/shop")[2] == b"Hello from /shop"
    assert client.email("support+42@example.com", "It is broken.")[0] == 250
    assert client.email("nobody@example.com")[0] == 550
    ann, bob = client.websocket("/lobby"), client.websocket("/lobby")
    ann.send("hello")
    assert (ann.receive(), bob.receive()) == ("hello", "hello")


def test_durable_page_does_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    routing = namespace_of(ROOT / "docs/how-to/durable.md")["routing"]
    with MemoryLayer(durable=["jobs.*"]) as layer:
        layer.send("jobs.export", {})
        worker = Worker(layer, routing)
        while worker.step():
            pass
        assert layer.global_statistics()["blobs_count"] == 0
    assert capsys.readouterr().out == f"squares.csv b'0;0\\n' {sum(len(f'{n};{n * n}') + 1 for n in range(100_000))}\n"


def test_email_page_does_what_it_says() -> None:
    client = Client(namespace_of(ROOT / "docs/how-to/email.md")["routing"])
    assert client.email("support+1@example.com", "x" * 1_000_001)[0] == 552
    assert client.email("support+1@example.com", "fine")[0] == 250


def test_send_mail_page_does_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    client = Client(namespace_of(ROOT / "docs/how-to/send-mail.md")["routing"])
    code, _, [reply] = client.email("support@example.com", "help", sender="bob@example.net")
    assert (code, reply["to"], reply["from"]) == (250, ["bob@example.net"], "support@example.com")
    client.layer.send("reports.due", {"month": "May"})
    result = {"id": "report-May", "address": "ann@example.com", "code": 250, "text": "ok", "permanent": True}
    client.layer.send("email.delivered", result)
    client.settle()
    assert capsys.readouterr().out == "report-May reached ann@example.com\n"


def test_websocket_page_does_what_it_says() -> None:
    client = Client(namespace_of(ROOT / "docs/how-to/websocket.md")["routing"])
    guests = [client.websocket("/chat", headers=[(b"cookie", b"session=1")]) for _ in range(2)]
    guests[0].send("hello")
    assert guests[0].receive() == "you said hello"
    assert guests[1].receive() == "somebody spoke"


def test_websocket_page_shows_a_layer_that_takes_the_largest_message() -> None:
    tables = tables_of(ROOT / "docs/how-to/websocket.md")
    largest = "x" * table(HttpSettings, tables["http"], "[http]", {}).ws_max
    layer = open_layer(tables["layer"])
    layer.send("websocket.receive", {"reply_channel": "http.reply.0!0", "path": "/chat", "order": 1, "text": largest})
    _, message = layer.receive(["websocket.receive"])
    assert message is not None
    assert message["text"] == largest
    layer.close()


def test_slack_page_does_what_it_says() -> None:
    """The bot answers whoever addresses it."""
    client = Client(namespace_of(ROOT / "docs/how-to/slack.md")["routing"])
    assert client.chat("hello", service="slack", mention=True, user="ann") == ["ann, you said: hello"]
    assert client.chat("hello", service="slack", user="ann") == []


def test_mail_authentication_page_does_what_it_says() -> None:
    page = namespace_of(ROOT / "docs/how-to/mail-authentication.md")
    client = Client(page["routing"])
    for dmarc, code in (("pass", 250), ("fail", 550), ("temperror", 451)):
        authentication = page["MESSAGE"] | {"dmarc": {"result": dmarc}}
        assert client.email("orders@example.com", authentication=authentication)[0] == code
    assert client.email("orders@example.com")[0] == 550


def test_webhooks_page_shows_settings_that_are_taken() -> None:
    tables = tables_of(ROOT / "docs/how-to/mail-webhooks.md")
    environ = {
        each["secret"]["env"]: "user:password" for each in tables["smtp"]["webhooks"].values() if "secret" in each
    }
    settings = table(SmtpSettings, tables["smtp"], "[smtp]", environ)
    assert [name for name, _ in settings.webhooks.all()] == ["mailgun", "postmark", "sendgrid", "ses"]

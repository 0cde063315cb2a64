"""`trunkline mail`: what an operator sees of mails that wait, and does with them."""

from __future__ import annotations

import json

import pytest

from trunkline.layer import Layer

from .test_operating import Command, bus, command, on_terminal, url

__all__ = ["bus", "command", "url"]


def send(bus: Layer, *to: str) -> str:
    """Send a mail that nobody takes; return its id."""
    bus.send("email.send", {"to": list(to), "from": "ann@example.com", "text": "hello"})
    return str(list(bus.kept("email.send"))[-1]["id"])


def delay(bus: Layer, id: str, *done: str) -> None:
    """Do what a server does that tried to send a mail."""
    [delivery] = bus.receive_batch(["email.send"], 1, 10)
    assert delivery.id == id
    progress = {"tries": 3, "done": list(done), "answers": {"eve@example.net": "450 4.2.2 the mailbox is full"}}
    bus.put_state(f"email.send:{id}", progress, 600)
    assert delivery.nack(600)


@pytest.fixture
def relay(bus: Layer) -> Layer:
    """The layer, with a server on it that has a relay, and does nothing."""
    assert bus.ask_durable("email.send")
    return bus


def test_nothing_waits(command: Command, url: str, bus: Layer) -> None:
    assert command("mail", "list") == (0, "", "")
    assert on_terminal(url, "mail", "list") == (0, "no mail waits to be sent\n")
    assert command("mail", "retry", "--all") == (0, "", "")


def test_what_waits_is_listed(command: Command, url: str, relay: Layer) -> None:
    one = send(relay, "Bob <bob@example.net>", "eve@example.net")
    delay(relay, one, "bob@example.net")
    two = send(relay, *(f"u{number}@example.net" for number in range(5)))
    code, out, _ = command("mail", "list")
    first, second = map(json.loads, out.splitlines())
    assert code == 0
    assert (first["id"], first["tries"], first["to"], first["state"]) == (one, 3, ["eve@example.net"], "later")
    assert first["answer"] == "450 4.2.2 the mailbox is full"
    assert 0 < first["next"] - first["sent"] < 1200
    assert (second["id"], second["tries"], len(second["to"]), second["next"]) == (two, 0, 5, None)
    code, seen = on_terminal(url, "mail", "list")
    assert code == 0
    assert "450 4.2.2 the mailbox is full" in seen
    assert "u0@example.net, u1@example.net, u2@example.net and 2 more" in seen
    assert json.loads(on_terminal(url, "mail", "list", "--json")[1].splitlines()[0])["id"] == one


def test_a_mail_is_tried_at_once(command: Command, relay: Layer) -> None:
    id = send(relay, "eve@example.net")
    assert command("mail", "retry", id) == (0, f"{id} waits for nothing but the relay already\n", "")
    delay(relay, id)
    assert relay.receive_batch(["email.send"]) == []
    assert command("mail", "retry", id) == (0, f"{id} is sent as soon as the relay takes it\n", "")
    [delivery] = relay.receive_batch(["email.send"], 1, 10)
    assert (delivery.id, delivery.tries) == (id, 2)
    assert command("mail", "retry", "--all") == (0, f"{id} is being sent already\n", "")


def test_a_mail_is_dropped(command: Command, relay: Layer) -> None:
    one = send(relay, "eve@example.net")
    delay(relay, one)
    two = send(relay, "bob@example.net")
    assert command("mail", "drop", one) == (0, f"{one} was dropped; who has not got it will not\n", "")
    assert relay.get_state(f"email.send:{one}") == (None, 0)
    code, out, err = command("mail", "drop", one, two)
    assert (code, out) == (1, f"{two} was dropped; who has not got it will not\n")
    assert f"no mail '{one}' waits to be sent" in err
    assert list(relay.kept("email.send")) == []


def test_what_no_server_will_understand_is_listed_too(command: Command, relay: Layer) -> None:
    relay.send("email.send", {"to": 5})
    assert json.loads(command("mail", "list")[1])["to"] == []


@pytest.mark.parametrize("arguments", [("retry",), ("drop",), ("drop", "1", "--all")])
def test_which_mails_has_to_be_said(command: Command, arguments: tuple[str, ...]) -> None:
    code, _, err = command("mail", *arguments)
    assert code == 2
    assert "needs the IDs of mails, or --all" in err

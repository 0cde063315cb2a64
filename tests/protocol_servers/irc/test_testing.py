"""The network in memory, as users' tests of consumers have it."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline import Conversation, Group, route
from trunkline.protocol_servers import testing
from trunkline.protocol_servers.testing import IrcNetwork, IrcRealm
from trunkline.workers.testing import Client

seen: list[Any] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    seen.clear()


def greet(message: Any) -> None:
    Group("rooms").add(message.reply_channel)


def hear(message: Any) -> None:
    seen.append({key: message[key] for key in ("text", "user", "user_id", "channel", "mention", "direct", "replayed")})
    if message["text"] == "long":
        message.reply("x" * 600, receipt_channel="receipts")
    elif message["text"] == "wave":
        message.reply("waves", action=True)
    elif message["text"] == "elsewhere":
        Group("rooms").send({"text": "from " + message["channel"]}, exclude=message.reply_channel)
    elif message["text"] == "leave":
        Conversation("irc", "test", "#dev").send({"text": "bye"})
    else:
        message.reply(f"hello {message['user']}")


def note(message: Any) -> None:
    seen.append((message.channel.name, message.get("user"), message.get("reason")))


def ask(message: Any) -> None:
    message.reply("topic of ours", type="topic")


routing = [
    route("chat.ready", greet),
    route("chat.message", hear),
    route(["chat.join", "chat.leave"], note),
    route("chat.receipt", note),
    route("receipts", lambda message: seen.append(message["status"])),
    route("irc-client.invite", ask),
]


@pytest.fixture
def client() -> Client:
    return Client(routing)


@pytest.fixture
def network(client: Client) -> IrcNetwork:
    return IrcNetwork(client.layer, client.settle, join=["#dev", "#ops"])


def test_a_line_is_answered(network: IrcNetwork) -> None:
    network.say("ann", "#dev", "bot: hello")
    assert network.said("#dev") == ["hello ann"]
    assert network.said() == []
    assert seen == [
        {
            "text": "hello",
            "user": "ann",
            "user_id": "ann!ann@ann.test",
            "channel": "#dev",
            "mention": True,
            "direct": False,
            "replayed": False,
        }
    ]


def test_in_private_and_as_an_action(network: IrcNetwork) -> None:
    network.say("ann", network.nick, "wave")
    assert network.said("ann") == ["* waves"]
    network.say("ann", "#dev", "sighs", action=True)
    network.say("ann", "#dev", "psst", notice=True)
    assert [each["text"] for each in seen] == ["wave", "sighs"]


def test_a_group_of_rooms(network: IrcNetwork) -> None:
    network.say("ann", "#dev", "elsewhere")
    assert (network.said("#dev"), network.said("#ops")) == ([], ["from #dev"])
    network.say("ann", "#ops", "elsewhere")
    assert network.said() == ["from #ops"]


def test_receipts_and_conversations(network: IrcNetwork) -> None:
    network.say("ann", "#ops", "long")
    assert "".join(network.said("#ops")) == "x" * 600
    assert seen[-1] == "split"
    network.say("ann", "#ops", "leave")
    assert network.said("#dev") == ["bye"]


def test_people_come_and_go(network: IrcNetwork, client: Client) -> None:
    network.join("ann", "#dev", account="ann.account")
    network.join("bob", "#dev")
    network.join("cid", "#ops")
    network.part("cid", "#ops", "lunch")
    network.kick("#dev", "bob", "enough")
    network.quit("ann", "good night")
    assert seen == [
        ("chat.join", "ann", None),
        ("chat.join", "bob", None),
        ("chat.join", "cid", None),
        ("chat.leave", "cid", "lunch"),
        ("chat.leave", "bob", "enough"),
        ("chat.leave", "ann", "good night"),
    ]


def test_a_netsplit_of_many(network: IrcNetwork) -> None:
    for number in range(500):
        network.realm.join(f"user{number}", "#dev")
    network.settle()
    assert len(seen) == 500
    network.netsplit(*(f"user{number}" for number in range(500)))
    assert len(seen) == 1000
    assert {each[0] for each in seen[500:]} == {"chat.leave"}


def test_a_kick_a_cut_and_a_restart(network: IrcNetwork, client: Client) -> None:
    network.kick("#dev")
    assert network.nick not in network.realm.rooms["#dev"]
    client.advance(30)
    network.settle()
    assert network.nick in network.realm.rooms["#dev"]
    for trouble in (network.disconnect, network.restart):
        trouble()
        network.say("ann", "#dev", "hello")
        assert network.said("#dev") == ["hello ann"]


def test_what_was_missed_is_fetched_where_the_network_remembers() -> None:
    client = Client(routing)
    realm = IrcRealm(caps=["message-tags", "server-time", "batch", "draft/chathistory", "account-tag"])
    network = IrcNetwork(client.layer, client.settle, join=["#dev"], realm=realm)
    network.join("ann", "#dev", account="ann")
    network.say("ann", "#dev", "one")
    realm.leave(realm.seats[0])
    realm.say("ann", "#dev", "two")
    network.restart()
    assert [(each["text"], each["replayed"], each["user_id"]) for each in seen[1:]] == [
        ("one", False, "ann"),
        ("two", True, "ann"),
    ]
    assert network.said("#dev") == ["hello ann", "hello ann"]


def test_irc_own_words(network: IrcNetwork) -> None:
    network.realm.rooms["#dev"].add("ann")
    network.realm.tell("#dev", ":ann!ann@ann.test INVITE bot #dev")
    network.settle()
    assert "TOPIC #dev :topic of ours" in network.realm.received


def test_a_small_layer_is_no_reason_to_lose_anything() -> None:
    client = Client(routing, capacity=3)
    network = IrcNetwork(client.layer, client.settle, join=["#dev"])
    network.netsplit("nobody")
    for number in range(20):
        network.realm.join(f"user{number}", "#dev")
    network.settle()
    assert len(seen) == 20


def test_what_consumers_do_on_irc(client: Client) -> None:
    network = IrcNetwork(client.layer, client.settle, join=["#dev", "#ops"], raw=True)
    for reply in (
        {"type": "nick", "body": "robot"},
        {"type": "topic", "channel": "#dev", "body": "tests"},
        {"type": "kick", "channel": "#dev", "user": "ann", "body": "enough"},
        {"type": "part", "channel": "#ops"},
        {"type": "raw", "body": "PING now"},
        {"type": "raw", "body": "UNHEARD of"},
        {"type": "nonsense"},
    ):
        network.realm.rooms["#dev"].add("ann")
        client.layer.send("irc.reply.test!", reply)
        network.settle()
    assert network.nick == "robot"
    assert network.realm.rooms == {"#dev": {"robot", "ann"}, "#ops": set()}
    assert network.stats["replies_ignored"] == 1
    network.realm.refused.add("#no")
    client.layer.send("irc.reply.test!", {"type": "join", "channel": "#no"})
    network.settle()
    assert "#no" not in network.realm.rooms


def test_who_wrote_in_private_meanwhile_is_told_too() -> None:
    client = Client(routing)
    caps = ["message-tags", "server-time", "batch", "draft/chathistory"]
    realm = IrcRealm(caps=caps, clock=lambda: 1e9 + client.clock())
    network = IrcNetwork(client.layer, client.settle, join=["#dev"], realm=realm)
    network.say("ann", "#dev", "one")
    realm.leave(realm.seats[0])
    client.advance(1)
    realm.say("bob", "bot", "two")
    network.restart()
    found = [(each["text"], each["user"], each["direct"], each["replayed"]) for each in seen]
    assert found == [("one", "ann", False, False), ("two", "bob", True, True)]
    assert network.said("bob") == ["hello bob"]


def test_accounts() -> None:
    """Nobody comes in without one, where the network has them."""
    realm = IrcRealm(accounts={"ann": "secret"})
    client = Client(routing)
    IrcNetwork(client.layer, client.settle, realm=realm, join=["#dev"])
    assert realm.seats == []
    assert realm.rooms == {}


def test_a_client_with_an_account_comes_in() -> None:
    realm = IrcRealm(accounts={"ann": "secret"})
    seat = realm.connect()

    def say(line: str) -> str:
        seat.receive(line.encode() + b"\r\n")
        return seat.take().decode()

    say("CAP LS 302")
    say("NICK x")
    say("USER x 0 * x")
    assert say("CAP REQ sasl").endswith("ACK :sasl\r\n")
    assert say("AUTHENTICATE PLAIN") == "AUTHENTICATE +\r\n"
    assert " 904 " in say("AUTHENTICATE AGFubgB3cm9uZw==")
    assert " 903 " in say("AUTHENTICATE AGFubgBzZWNyZXQ=")
    assert " 001 " in say("CAP END")
    assert say("CAP END") == ""


def test_two_clients_do_not_have_one_nick() -> None:
    realm, client = IrcRealm(), Client(routing)
    networks = [
        IrcNetwork(client.layer, client.settle, network=name, realm=realm, join=["#dev"]) for name in ("one", "two")
    ]
    assert [each.nick for each in networks] == ["bot", "bot_"]
    assert realm.rooms["#dev"] == {"bot", "bot_"}


def test_nothing_else_is_there() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        testing.nonsense  # noqa: B018

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
    assert [each["text"] for each in seen] == ["wave", "sighs", "psst"]


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


def test_accounts() -> None:
    """Nobody comes in without one, where the network has them."""
    realm = IrcRealm(accounts={"ann": "secret"})
    client = Client(routing)
    IrcNetwork(client.layer, client.settle, realm=realm, join=["#dev"])
    assert realm.seats == []
    assert realm.rooms == {}


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

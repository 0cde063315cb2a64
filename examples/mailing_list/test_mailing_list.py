"""The mailing list without a socket."""

from collections.abc import Callable
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from mailing_list import consumers, store
from mailing_list.routing import routing

from trunkline.message_formats.email import Outcome, delivery_report
from trunkline.workers.testing import Client

LIST = "garden@lists.example.com"
SUBSCRIBE = "garden-subscribe@lists.example.com"
UNSUBSCRIBE = "garden-unsubscribe@lists.example.com"
SCRIPT = "<script>alert('x')</script>"

Join = Callable[..., None]


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A list without members, of a database of its own."""
    monkeypatch.setattr(store, "DATABASE", str(tmp_path / "list.sqlite"))
    client = Client(routing)
    client.layer.announce("relay", {"channels": {"email.send": False}})
    return client


@pytest.fixture
def join(client: Client) -> Join:
    """Makes members."""

    def join(*addresses: str) -> None:
        for address in addresses:
            [asked] = client.email(SUBSCRIBE, sender=address)[2]
            assert client.email(asked["from"], sender=address)[0] == 250

    return join


def written(sent: dict[str, Any]) -> EmailMessage:
    """The mail that goes to the relay."""
    mail = message_from_bytes(sent["raw"], policy=default)
    assert isinstance(mail, EmailMessage)
    return mail


def posted(client: Client, subject: str = "Hello", text: str = "Is anybody here?") -> list[dict[str, Any]]:
    """What Ann's mail to the list makes it send."""
    code, _, sent = client.email(LIST, text, subject, "ann@example.org")
    assert code == 250
    return sent


def test_who_subscribes_is_asked_first(client: Client) -> None:
    code, _, [asked] = client.email(SUBSCRIBE, sender="ann@example.org")
    assert (code, asked["to"], asked["headers"]["Auto-Submitted"]) == (250, ["ann@example.org"], "auto-replied")
    assert not store.is_member("ann@example.org")
    code, _, [welcome] = client.email(asked["from"], sender="Ann@example.org")
    assert (code, welcome["text"]) == (250, "Welcome to the list.")
    assert store.is_member("ann@example.org")
    assert client.email(asked["from"], sender="ann@example.org")[0] == 550


def test_nobody_is_asked_again_and_again(client: Client) -> None:
    sent = [client.email(SUBSCRIBE, sender="victim@example.org")[2] for _ in range(3)]
    assert [len(mails) for mails in sent] == [1, 0, 0]


def test_a_guessed_token_confirms_nothing(client: Client) -> None:
    assert client.email("garden-confirm+1234@lists.example.com")[0] == 550


def test_a_post_goes_to_all_members(client: Client, join: Join) -> None:
    join("ann@example.org", "bob@example.net", "cyd@example.com")
    sent = posted(client)
    assert [mail["to"] for mail in sent] == [["ann@example.org"], ["bob@example.net"], ["cyd@example.com"]]
    assert len({mail["from"] for mail in sent}) == 3
    mail = written(sent[1])
    assert (mail["subject"], mail["reply-to"], mail["to"]) == ("[garden] Hello", LIST, LIST)
    assert mail["from"] == "ann via Garden <garden@lists.example.com>"
    assert mail.get_content().strip() == "Is anybody here?"
    assert mail["list-id"] == "The garden <garden.lists.example.com>"
    assert mail["list-post"] == f"<mailto:{LIST}>"
    assert mail["list-unsubscribe"].startswith("<mailto:garden-unsubscribe+")
    assert mail["precedence"] == "list"


def test_many_members_are_sent_to_in_several_steps(client: Client, join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "AT_ONCE", 2)
    join("ann@example.org", *(f"{number}@example.net" for number in range(6)))
    assert len({mail["to"][0] for mail in posted(client)}) == 7


def test_a_thread_stays_one(client: Client, join: Join) -> None:
    join("ann@example.org")
    raw = b"From: Ann <ann@example.org>\r\nMessage-ID: <3@x>\r\nIn-Reply-To: <2@x>\r\nReferences: <1@x>\r\n\r\nYes."
    mail = written(client.email(LIST, sender="ann@example.org", raw=raw)[2][0])
    assert (mail["message-id"], mail["in-reply-to"], mail["references"]) == ("<3@x>", "<2@x>", "<1@x> <2@x>")


def test_only_members_may_post(client: Client, join: Join) -> None:
    join("ann@example.org")
    code, text, sent = client.email(LIST, sender="eve@example.org")
    assert (code, sent) == (550, [])
    assert text.startswith("5.7.2 ")


def test_what_is_too_long_is_refused(client: Client, join: Join) -> None:
    join("ann@example.org")
    assert client.email(LIST, "x" * 70 * 5000, sender="ann@example.org")[0] == 552


@pytest.mark.parametrize("header", ["Auto-Submitted: auto-replied", "List-Id: The garden <garden.lists.example.com>",
                                    "Precedence: list"])  # fmt: skip
@pytest.mark.parametrize("address", [LIST, SUBSCRIBE, UNSUBSCRIBE])
def test_there_is_no_loop(client: Client, join: Join, header: str, address: str) -> None:
    """Neither a machine nor the list itself is answered or sent on."""
    join("ann@example.org")
    raw = f"{header}\r\nFrom: ann@example.org\r\nSubject: Away\r\n\r\nI am away.".encode()
    assert client.email(address, sender="ann@example.org", raw=raw)[::2] == (250, [])
    assert store.latest(1) == []


def test_an_automatic_answer_confirms_nothing(client: Client) -> None:
    [asked] = client.email(SUBSCRIBE, sender="ann@example.org")[2]
    raw = b"Auto-Submitted: auto-replied\r\nFrom: ann@example.org\r\n\r\nI am away."
    client.email(asked["from"], sender="ann@example.org", raw=raw)
    assert not store.is_member("ann@example.org")


def test_a_copy_that_comes_back_goes_nowhere(client: Client, join: Join) -> None:
    join("ann@example.org", "bob@example.net")
    copy = posted(client)[1]
    assert client.email(LIST, sender="ann@example.org", raw=copy["raw"])[2] == []


def test_leaving_by_mail(client: Client, join: Join) -> None:
    join("ann@example.org", "bob@example.net")
    [asked] = client.email(UNSUBSCRIBE, sender="ann@example.org")[2]
    assert store.is_member("ann@example.org")
    assert client.email(asked["from"], sender="ann@example.org")[2][0]["text"] == "Good-bye."
    assert not store.is_member("ann@example.org")
    assert client.email(UNSUBSCRIBE, sender="eve@example.org")[2] == []


def test_leaving_by_the_links_in_a_mail(client: Client, join: Join) -> None:
    join("ann@example.org", "bob@example.net")
    by_mail, by_web = (written(sent)["list-unsubscribe"][1:-1].split(">, <") for sent in posted(client))
    assert client.email(by_mail[0].removeprefix("mailto:"), sender="ann@example.net")[0] == 250
    assert not store.is_member("ann@example.org")
    path = by_web[1].removeprefix("http://127.0.0.1:8000")
    assert client.http("GET", path)[0] == 200
    assert store.is_member("bob@example.net")
    assert client.http("POST", path, b"List-Unsubscribe=One-Click")[0] == 200
    assert not store.is_member("bob@example.net")


def report(copy: dict[str, Any], number: int, action: str = "failed") -> bytes:
    """What the server of a member says about a post."""
    [address] = copy["to"]
    outcome = Outcome(address, 550, "5.1.1 No such user", action=action)
    return delivery_report(
        reporting_mta="mx.example.net", to=copy["from"], outcomes=[outcome], original=copy["raw"], date=float(number)
    )


def test_who_cannot_be_reached_is_unsubscribed(client: Client, join: Join) -> None:
    join("ann@example.org", "bob@example.net")
    for number in range(store.MOST_BOUNCES):
        assert store.is_member("bob@example.net")
        copy = posted(client, str(number))[1]
        for _ in range(2):  # the same report twice is one
            assert client.email(copy["from"], sender=None, raw=report(copy, number))[0] == 250
    assert not store.is_member("bob@example.net")
    assert store.is_member("ann@example.org")


def test_whom_the_relay_refuses_is_unsubscribed(client: Client, join: Join) -> None:
    join("ann@example.org")
    for number in range(store.MOST_BOUNCES):
        [copy] = posted(client, str(number))
        result = {"id": copy["id"], "address": "ann@example.org", "code": 550, "text": "5.1.1 No", "permanent": True}
        client.publish("email.failed", {**result, "permanent": False})
        client.publish("email.failed", result)
        client.settle()
    assert not store.is_member("ann@example.org")


def test_what_is_late_or_forged_counts_nothing(client: Client, join: Join) -> None:
    join("ann@example.org")
    for number in range(store.MOST_BOUNCES):
        [copy] = posted(client, str(number))
        client.email(copy["from"], sender=None, raw=report(copy, number, "delayed"))
        client.email(copy["from"], sender="eve@example.org", raw=report(copy, number))
        client.email(copy["from"], "It failed!", sender=None)
    assert store.is_member("ann@example.org")


def test_the_archive_shows_posts_as_text(client: Client, join: Join) -> None:
    join("ann@example.org")
    raw = f'From: "{SCRIPT}" <ann@example.org>\r\nSubject: {SCRIPT}\r\n\r\n</pre>{SCRIPT}'.encode()
    assert client.email(LIST, sender="ann@example.org", raw=raw)[0] == 250
    for path in ("/", "/posts/1"):
        status, headers, page = client.http("GET", path)
        assert status == 200
        assert b"<script" not in page
        assert b"&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in page
        assert b"ann@example.org" not in page
        assert any(name == b"content-security-policy" for name, _ in headers)
    assert b"&lt;/pre&gt;" in page
    assert client.http("GET", "/posts/2")[0] == 404
    assert client.http("GET", "/posts/x")[0] == 404


def test_a_mail_that_comes_again_is_one_post(client: Client, join: Join) -> None:
    """As where its 250 was lost, or a worker was killed before it could say that it was done."""
    join("ann@example.org")
    raw = b"From: ann@example.org\r\nMessage-ID: <1@x>\r\nSubject: Once\r\n\r\nOnce."
    counts = [len(client.email(LIST, sender="ann@example.org", raw=raw)[2]) for _ in range(2)]
    assert (counts, len(store.latest(10))) == ([1, 0], 1)


def test_addresses_that_are_not_ours(client: Client) -> None:
    for address in ("other@lists.example.com", "gardener@lists.example.com", "garden@example.com",
                    "garden-subscribe@lists.example.com.evil.example"):  # fmt: skip
        assert client.email(address)[0] == 550

"""What happens to a mail: plain functions, one per address. When one returns, the sender gets its 250."""

import logging

from trunkline import Channel, Message, Reject

from . import mails, store

AT_ONCE = 100  # members that a post is sent to before other messages have their turn
LONGEST_POST = 256 * 1024  # bytes

log = logging.getLogger(__name__)


def ignore(message: Message) -> None:
    """Take a mail that a machine sent, or the list itself, and do nothing."""
    log.info("ignored a mail of %s to %s", message["from"], message["address"])


def subscribe(message: Message) -> None:
    """Ask the sender whether it was the sender who asked."""
    _ask(message, "subscribe")


def ask_to_leave(message: Message) -> None:
    """Ask a member whether it was the member who wants to leave."""
    if store.is_member(_sender(message)):
        _ask(message, "leave")


def _ask(message: Message, wish: store.Wish) -> None:
    token = store.ask(_sender(message), wish)
    if token is not None:
        Channel("email.send").send(mails.request(_sender(message), wish, token))


def _sender(message: Message) -> str:
    if message["from"] is None:
        raise Reject(550, "5.7.1 Nobody could be answered")
    return str(message["from"])


def confirm(message: Message, token: str) -> None:
    """Do what somebody wished who could read what we asked."""
    done = store.confirm(token)
    if done is None:
        raise Reject(550, "5.1.1 Nothing waits to be confirmed here")
    log.info("%s confirmed: %s", *done)
    message.reply("Welcome to the list." if done[1] == "subscribe" else "Good-bye.")


def leave(message: Message, key: str) -> None:
    """Unsubscribe the member whose mails said so; a second time there is nothing to do."""
    log.info("%s left", store.remove(key))


def bounced(message: Message, key: str) -> None:
    """Count a post that came back for good."""
    recipients = (message["bounce"] or {}).get("recipients", ())
    if message["from"] is None and any(each["action"] == "failed" for each in recipients):
        _missed(key, message["id"])


def failed(message: Message, key: str) -> None:
    """Count a post that the relay did not take at all."""
    _missed(key, message["id"])


def _missed(key: str, what: str) -> None:
    if store.bounced(key, what):
        log.warning("somebody is unsubscribed: %d posts came back", store.MOST_BOUNCES)


def post(message: Message) -> None:
    """Keep a member's mail and have it sent to all members."""
    if message["authentication"].get("dmarc", {}).get("result") == "fail":
        raise Reject(550, "5.7.1 This is not from who it says it is from")
    if not store.is_member(_sender(message)):
        raise Reject(550, f"5.7.2 Only members may write here; to join, write to {mails.address('subscribe')}")
    if message["size"] > LONGEST_POST:
        raise Reject(552, f"5.3.4 A mail to the list may have {LONGEST_POST} bytes")
    headers = message["headers"]
    earlier = mails.MESSAGE_ID.findall(headers.get("references", "") + headers.get("in-reply-to", ""))
    own = mails.MESSAGE_ID.fullmatch(message["message_id"])
    number = store.add_post(
        message["id"],
        mails.name_of(headers.get("from", "")),
        _sender(message),
        message["subject"][:500] or "(no subject)",
        message["text"],
        own[0] if own else f"<{message['id']}@{mails.DOMAIN}>",
        " ".join(dict.fromkeys(earlier[-20:])),
    )
    # Durable (trunkline.toml): whoever is killed meanwhile, all members get it.
    Channel("list.distribute").send({"number": number, "after": ""}, once=str(number), window=5 * 86_400)


def distribute(message: Message) -> None:
    """Send a post to some members, and leave the rest to the next message."""
    post = store.post(message["number"])
    members = store.members(message["after"], AT_ONCE)
    if post is None or not members:
        return
    for member in members:
        # A second time where a worker was killed: nobody gets it twice.
        mail = mails.copy(post, member)
        Channel("email.send").send(mail, once=mail["id"], window=86_400)
    Channel("list.distribute").send({"number": post.number, "after": members[-1].address})

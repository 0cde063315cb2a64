"""One room for a web page, chat and a mail address: what is said in one appears in the others."""

from pathlib import Path

from trunkline import Group, Message, route

PAGE = (Path(__file__).parent / "page.html").read_text("utf-8")
ROOM = Group("bridge")


def page(message: Message) -> None:
    message.reply(PAGE, headers=[(b"content-type", b"text/html; charset=utf-8")])


def enter(message: Message) -> None:
    ROOM.add(message.reply_channel)


def say(message: Message) -> None:
    who = message.get("user") or message.get("from") or "web"
    if not message.get("direct"):
        ROOM.send({"text": f"{who}: {' '.join(message['text'].split())[:500]}"}, exclude=message.reply_channel)


routing = [
    route("http.request", page, path=r"^/$"),
    route(["websocket.connect", "chat.ready"], enter),
    route(["websocket.receive", "chat.message"], say, text=r"\s*\S"),
    route("email.receive", say, address=r"^room@example\.com$"),
]

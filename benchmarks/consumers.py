"""What our workers do in the benchmarks: an HTTP page, a WebSocket echo, a room."""

from trunkline import Group, Message, route


def hello(message: Message) -> None:
    message.reply("hello world\n")


def echo(message: Message) -> None:
    message.reply(message["text"])


def join(message: Message) -> None:
    Group("room").add(message.reply_channel)


routing = [
    route("http.request", hello),
    route("websocket.receive", echo, path="^/echo$"),
    route("websocket.connect", join, path="^/room$"),
]

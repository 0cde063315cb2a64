"""Channels as in its tutorial: an echo in the server's process, an echo by a `runworker` process, and a room."""

# mypy: disable-error-code="import-not-found, import-untyped, misc"

from typing import Any

from channels.consumer import AsyncConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"hello world\n", content_type="text/plain")


class Echo(AsyncWebsocketConsumer):
    """Answer in this process; nothing goes through the layer."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=text_data)


class BusEcho(AsyncWebsocketConsumer):
    """Have each frame answered by the worker."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.channel_layer.send("echo", {"type": "echo.ask", "to": self.channel_name, "text": text_data})

    async def echo_answer(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])


class EchoWorker(AsyncConsumer):
    """The consumer of `runworker echo`."""

    async def echo_ask(self, event: dict[str, Any]) -> None:
        await self.channel_layer.send(event["to"], {"type": "echo.answer", "text": event["text"]})


class Room(AsyncWebsocketConsumer):
    """A member of the group."""

    async def connect(self) -> None:
        await self.channel_layer.group_add("room", self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard("room", self.channel_name)

    async def room_line(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])


urlpatterns = [path("hello", hello)]
application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter(
            [path("echo", Echo.as_asgi()), path("bus", BusEcho.as_asgi()), path("room", Room.as_asgi())]
        ),
        "channel": ChannelNameRouter({"echo": EchoWorker.as_asgi()}),
    }
)

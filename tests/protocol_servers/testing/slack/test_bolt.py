"""An app on slack_bolt, Slack's own framework, works with the Slack in memory unchanged: by sockets and by requests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from slack_bolt import App
from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.adapter.wsgi import SlackRequestHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk import WebClient
from slack_sdk.web.async_client import AsyncWebClient

from trunkline.protocol_servers.testing import SlackWorkspace

BUTTON = {"type": "button", "action_id": "approve", "text": {"type": "plain_text", "text": "Approve"}, "value": "42"}
MODAL = {"type": "modal", "callback_id": "form", "title": {"type": "plain_text", "text": "Form"}, "blocks": []}


def make_app(client: WebClient, workspace: SlackWorkspace) -> App:
    """Return an app that answers everything that there is."""
    app = App(client=client, signing_secret=workspace.signing_secret, process_before_response=True)

    @app.message("tea")
    def tea(message: Any, say: Any) -> None:
        say("with milk?", thread_ts=message["ts"])

    @app.event("app_mention")
    def mentioned(event: Any, client: WebClient) -> None:
        client.reactions_add(channel=event["channel"], timestamp=event["ts"], name="eyes")

    @app.event("message")
    def anything(ack: Any) -> None:
        ack()

    @app.event("member_joined_channel")
    def joined(event: Any, say: Any) -> None:
        say(f"welcome, <@{event['user']}>")

    @app.command("/deploy")
    def deploy(ack: Any, respond: Any, command: Any) -> None:
        ack(f"deploying {command['text']}")
        respond(text="done", response_type="in_channel")

    @app.action("approve")
    def approve(ack: Any, respond: Any, action: Any) -> None:
        ack()
        respond(text=f"approved {action['value']}", replace_original=True)

    @app.shortcut("ask")
    def ask(ack: Any, shortcut: Any, client: WebClient) -> None:
        ack()
        client.views_open(trigger_id=shortcut["trigger_id"], view=MODAL)

    @app.view("form")
    def form(ack: Any, view: Any) -> None:
        if not view["state"]["values"]:
            ack(response_action="errors", errors={"b1": "say something"})
        else:
            ack(response_action="update", view={**MODAL, "callback_id": "thanks"})

    @app.view_closed("form")
    def closed(ack: Any) -> None:
        ack()

    @app.options("who")
    def who(ack: Any, payload: Any) -> None:
        ack(options=[{"text": {"type": "plain_text", "text": payload["value"]}, "value": "1"}])

    return app


class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture(params=["sockets", "requests"])
def bolt(request: pytest.FixtureRequest, client: WebClient, workspace: SlackWorkspace) -> Iterator[SlackWorkspace]:
    """The workspace, with the app running."""
    app = make_app(client, workspace)
    if request.param == "sockets":
        handler: Any = SocketModeHandler(app, workspace.app_token, ping_interval=60)
        handler.connect()
        workspace.wait_connected()
        yield workspace
        handler.client.auto_reconnect_enabled = False
        workspace.close_connections()  # else the client ends with its next timeout, three seconds later
        with suppress(AttributeError):  # slack_sdk's own two threads may both close the socket
            handler.close()
        return
    with make_server("127.0.0.1", 0, SlackRequestHandler(app), handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/slack/events"
        status, body = workspace.verify_url(url)
        assert (status, b"challenge-of-slack" in body) == (200, True)
        workspace.use_http(events=url, commands=url, interactivity=url)
        yield workspace
        server.shutdown()
        thread.join()


def test_events(bolt: SlackWorkspace) -> None:
    said = bolt.say("ann", "general", "tea?")
    bolt.wait(lambda: bolt.messages("general"))
    assert [(each.text, each.thread) for each in bolt.messages("general")] == [("with milk?", said.ts)]
    mention = bolt.say("ann", "general", f"{bolt.mention('bot')} look")
    bolt.wait(lambda: mention.reactions)
    assert mention.reactions == {"eyes": [bolt.bot.id]}
    bolt.join("bob", "general")
    bolt.wait(lambda: len(bolt.texts("general")) == 2)
    assert bolt.texts("general")[1] == f"welcome, <@{bolt.person('bob').id}>"
    bolt.wait_delivered()


def test_commands(bolt: SlackWorkspace) -> None:
    delivery = bolt.command("ann", "general", "/deploy", "web")
    bolt.wait(lambda: delivery.acknowledged and len(bolt.texts("general")) == 2)
    ann = bolt.person("ann").id
    assert {(each.text, each.seen_by) for each in bolt.messages("general")} == {("deploying web", ann), ("done", None)}


def test_buttons(bolt: SlackWorkspace, client: WebClient) -> None:
    room = bolt.room("general", "ann")
    client.chat_postMessage(
        channel=room.id, text="?", blocks=[{"type": "actions", "block_id": "b", "elements": [BUTTON]}]
    )
    (said,) = bolt.messages("general")
    delivery = bolt.click("ann", said, "approve")
    bolt.wait(lambda: delivery.acknowledged and said.edited)
    assert (said.text, said.blocks) == ("approved 42", None)
    (action,) = delivery.payload["actions"]
    assert (action["block_id"], action["value"]) == ("b", "42")


def test_shortcuts_and_views(bolt: SlackWorkspace) -> None:
    bolt.shortcut("ann", "ask")
    view = bolt.wait(lambda: list(bolt.views.values()))[0]
    first = bolt.submit("ann", view)
    bolt.wait(lambda: first.acknowledged)
    assert first.answer["errors"] == {"b1": "say something"}
    second = bolt.submit("ann", view, {"b1": {"a1": {"type": "plain_text_input", "value": "hello"}}})
    bolt.wait(lambda: second.acknowledged)
    assert bolt.views[view["id"]]["callback_id"] == "thanks"
    closing = bolt.close_view("ann", view)
    bolt.wait(lambda: closing.acknowledged)
    assert view["id"] not in bolt.views


def test_a_shortcut_of_a_message_and_options(bolt: SlackWorkspace) -> None:
    said = bolt.say("ann", "general", "what about this?")
    delivery = bolt.shortcut("ann", "ask", said)
    bolt.wait(lambda: delivery.acknowledged)
    assert delivery.payload["type"] == "message_action"
    assert delivery.payload["message"]["text"] == "what about this?"
    options = bolt.suggest("ann", "who", "bo")
    bolt.wait(lambda: options.acknowledged)
    assert options.answer["options"][0]["text"]["text"] == "bo"


def test_the_async_app(workspace: SlackWorkspace) -> None:
    async def scenario() -> None:
        app = AsyncApp(
            client=AsyncWebClient(workspace.bot_token, base_url=workspace.api_url),
            signing_secret=workspace.signing_secret,
        )

        @app.message("tea")
        async def tea(say: Any) -> None:
            await say("with milk?")

        handler: Any = AsyncSocketModeHandler(app, workspace.app_token)
        await handler.connect_async()
        workspace.say("ann", "general", "tea?")
        await asyncio.to_thread(workspace.wait, lambda: workspace.texts("general") == ["with milk?"])
        await asyncio.to_thread(workspace.wait_delivered)
        await handler.close_async()

    asyncio.run(scenario())

"""Socket Mode of the Slack in memory: slack_sdk's client keeps up with it, and the frames are as documented."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from slack_sdk import WebClient
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web.async_client import AsyncWebClient

from trunkline.protocol_servers.testing import SlackService, SlackWorkspace

PATIENCE = 60  # seconds; a bound against hanging, never waited for


class Socket:
    """A connection as an app opens it."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        self.websocket = websocket

    async def frame(self) -> Any:
        async with asyncio.timeout(PATIENCE):
            return json.loads(await self.websocket.receive_str())

    async def acknowledge(self, envelope: Any, payload: Any = None) -> None:
        await self.websocket.send_json(
            {"envelope_id": envelope["envelope_id"]} | ({"payload": payload} if payload else {})
        )

    async def ended(self) -> None:
        """Wait for the end of the connection."""
        async with asyncio.timeout(PATIENCE):
            while (await self.websocket.receive()).type not in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE):
                pass


def addresses(workspace: SlackWorkspace) -> Callable[[], str]:
    """Return what asks for an address."""
    client = WebClient(base_url=workspace.api_url)
    return lambda: str(client.apps_connections_open(app_token=workspace.app_token)["url"])


@pytest.fixture
def address(workspace: SlackWorkspace) -> Callable[[], str]:
    return addresses(workspace)


@pytest.fixture
def hasty() -> Iterator[SlackWorkspace]:
    """A workspace of a Slack that waits for an acknowledgement for no time at all."""
    with SlackService(patience=0.05, retries=[0.01] * 3) as service:
        yield service.workspace


@asynccontextmanager
async def opened(address: Callable[[], str], **options: Any) -> AsyncIterator[Socket]:
    url = await asyncio.to_thread(address)
    async with aiohttp.ClientSession() as session, session.ws_connect(url, **options) as websocket:
        yield Socket(websocket)


async def until(condition: Callable[[], Any]) -> Any:
    """Wait for what happens in other threads."""
    async with asyncio.timeout(PATIENCE):
        while not (found := condition()):
            await asyncio.sleep(0.005)
        return found


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(coroutine)


def test_hello_and_an_event(workspace: SlackWorkspace, address: Callable[[], str]) -> None:
    async def scenario() -> None:
        async with opened(address) as socket:
            hello = await socket.frame()
            assert (hello["type"], hello["num_connections"]) == ("hello", 1)
            assert hello["connection_info"] == {"app_id": workspace.state.app_id}
            said = workspace.say("ann", "general", "hi &amp; welcome")
            envelope = await socket.frame()
            assert (envelope["type"], envelope["accepts_response_payload"]) == ("events_api", False)
            assert (envelope["retry_attempt"], envelope["retry_reason"]) == (0, "")
            payload = envelope["payload"]
            assert (payload["type"], payload["event_id"]) == ("event_callback", said.event_ids[0])
            event = payload["event"]
            assert (event["type"], event["text"], event["ts"]) == ("message", "hi &amp; welcome", said.ts)
            assert (event["channel"], event["channel_type"], event["user"]) == (said.room, "channel", said.user)
            assert len(workspace.undelivered()) == 1
            await socket.acknowledge(envelope)
            await asyncio.to_thread(workspace.wait_delivered)

    run(scenario())


def test_an_address_is_good_for_one_connection(workspace: SlackWorkspace, address: Callable[[], str]) -> None:
    async def scenario() -> None:
        url = await asyncio.to_thread(address)
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(url):
                for bad in (url, url.replace("ticket=", "ticket=x")):
                    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                        await session.ws_connect(bad)
                    assert caught.value.status == 408
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await session.ws_connect(url.replace("/link/T", "/link/X"))
        assert workspace.sockets.refused == 2

    run(scenario())


def test_an_address_expires() -> None:
    with SlackService(socket_lifetime=0) as service:
        url = addresses(service.workspace)()

        async def scenario() -> None:
            async with aiohttp.ClientSession() as session:
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    await session.ws_connect(url)

        run(scenario())


def test_each_event_goes_to_one_of_the_connections(workspace: SlackWorkspace, address: Callable[[], str]) -> None:
    async def scenario() -> None:
        async with opened(address) as one, opened(address) as two:
            assert [(await each.frame())["num_connections"] for each in (one, two)] == [1, 2]
            for number in range(4):
                workspace.say("ann", "general", str(number))
            for socket in (one, two):
                for _ in range(2):
                    await socket.acknowledge(await socket.frame())
            await asyncio.to_thread(workspace.wait_delivered)
            assert all(len(each.attempts) == 1 for each in workspace.deliveries)

    run(scenario())


def test_an_event_is_told_again_until_it_is_given_up(hasty: SlackWorkspace) -> None:
    workspace = hasty

    async def scenario() -> None:
        async with opened(addresses(workspace)) as socket:
            await socket.frame()
            (event_id,) = workspace.say("ann", "general", "hi").event_ids
            seen = [await socket.frame() for _ in range(4)]
            assert [(each["retry_attempt"], each["retry_reason"]) for each in seen] == [
                (0, ""),
                (1, "timeout"),
                (2, "timeout"),
                (3, "timeout"),
            ]
            assert len({each["envelope_id"] for each in seen}) == 4
            assert {each["payload"]["event_id"] for each in seen} == {event_id}
            delivery = workspace.delivery(event_id)
            await until(lambda: delivery.given_up)
            workspace.retry_now()
            again = await socket.frame()
            assert again["retry_attempt"] == 4
            # A late acknowledgement, of an attempt that has failed, counts.
            await socket.acknowledge(seen[1])
            await until(lambda: delivery.acknowledged)
            await socket.acknowledge(again)
            await socket.acknowledge({"envelope_id": "never sent"})
            await until(lambda: workspace.acknowledgements == 3)
            assert workspace.strays == 1

    run(scenario())


def test_what_a_cut_connection_held_goes_to_another(workspace: SlackWorkspace, address: Callable[[], str]) -> None:
    async def scenario() -> None:
        async with opened(address) as one:
            await one.frame()
            workspace.say("ann", "general", "hi")
            assert (await one.frame())["retry_attempt"] == 0
            async with opened(address) as two:
                await two.frame()
                await one.websocket.close()
                envelope = await two.frame()
                assert (envelope["retry_attempt"], envelope["retry_reason"]) == (1, "connection_failed")
                await two.acknowledge(envelope)
                await asyncio.to_thread(workspace.wait_delivered)

    run(scenario())


def test_nobody_is_there(workspace: SlackWorkspace, address: Callable[[], str]) -> None:
    (event_id,) = workspace.say("ann", "general", "hi").event_ids
    delivery = workspace.delivery(event_id)
    workspace.wait(lambda: delivery.given_up)
    assert [attempt.outcome for attempt in delivery.attempts] == ["connection_failed"] * 4

    async def scenario() -> None:
        async with opened(address) as socket:
            await socket.frame()
            workspace.retry_now()
            await socket.acknowledge(await socket.frame())
            await asyncio.to_thread(workspace.wait_delivered)
            workspace.again(delivery)
            assert (await socket.frame())["payload"]["event_id"] == event_id

    run(scenario())


@pytest.mark.parametrize("reason", ["warning", "refresh_requested"])
def test_a_refresh_is_announced(workspace: SlackWorkspace, address: Callable[[], str], reason: str) -> None:
    async def scenario() -> None:
        async with opened(address) as old:
            await old.frame()
            workspace.disconnect(reason)
            frame = await old.frame()
            assert (frame["type"], frame["reason"]) == ("disconnect", reason)
            workspace.say("ann", "general", "still here")
            await old.acknowledge(await old.frame())
            async with opened(address) as new:
                assert (await new.frame())["num_connections"] == 2
                for number in range(3):
                    workspace.say("ann", "general", str(number))
                    await new.acknowledge(await new.frame())
                workspace.close_connections()
                await asyncio.gather(old.ended(), new.ended())

    run(scenario())


def test_socket_mode_is_switched_off(workspace: SlackWorkspace, address: Callable[[], str]) -> None:
    async def scenario() -> None:
        async with opened(address) as socket:
            await socket.frame()
            workspace.disconnect("link_disabled")
            assert (await socket.frame())["reason"] == "link_disabled"
            await socket.ended()
            await until(lambda: not workspace.connections)

    run(scenario())


def test_no_more_than_ten_connections(workspace: SlackWorkspace, address: Callable[[], str]) -> None:
    async def scenario() -> None:
        async with aiohttp.ClientSession() as session:
            sockets = [Socket(await session.ws_connect(await asyncio.to_thread(address))) for _ in range(11)]
            assert {(await each.frame())["type"] for each in sockets[:10]} == {"hello"}
            assert (await sockets[10].frame())["reason"] == "too_many_websockets"
            await sockets[10].ended()
            assert len(workspace.connections) == 10

    run(scenario())


def test_connections_grow_old() -> None:
    with SlackService(connection_age=0.05) as service:

        async def scenario() -> None:
            async with opened(addresses(service.workspace)) as socket:
                assert [(await socket.frame())["type"] for _ in range(2)] == ["hello", "disconnect"]
                await socket.ended()

        run(scenario())


def test_pings_both_ways() -> None:
    with SlackService(ping_interval=0.02) as service:
        workspace = service.workspace

        async def scenario() -> None:
            async with opened(addresses(workspace), autoping=False) as socket:
                await socket.frame()
                assert (await socket.websocket.receive()).type is aiohttp.WSMsgType.PING
                await socket.websocket.ping(b"sdk")
                async with asyncio.timeout(PATIENCE):
                    while (frame := await socket.websocket.receive()).type is not aiohttp.WSMsgType.PONG:
                        pass
                assert frame.data == b"sdk"
                workspace.freeze_connections()
                await until(lambda: workspace.connections[0].frozen)
                await socket.websocket.ping(b"anybody?")
                workspace.say("ann", "general", "lost")
                # Nothing comes any more but what had left before.
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        while (await socket.websocket.receive()).type is aiohttp.WSMsgType.PING:
                            pass
                workspace.cut_connections()
                await socket.ended()

        run(scenario())


def test_what_makes_no_sense_is_ignored(workspace: SlackWorkspace, address: Callable[[], str]) -> None:
    async def scenario() -> None:
        async with opened(address) as socket:
            await socket.frame()
            for text in ("", "{", "[]", "1", '{"envelope_id": 5}', '{"envelope_id": []}', "{}"):
                await socket.websocket.send_str(text)
            await socket.websocket.send_bytes(b"\xff")
            workspace.say("ann", "general", "hi")
            await until(lambda: not workspace.connections or workspace.connections[0].sent)

    run(scenario())


def test_commands_and_their_answers(workspace: SlackWorkspace, address: Callable[[], str]) -> None:
    async def scenario() -> None:
        async with opened(address) as socket:
            await socket.frame()
            delivery = workspace.command("ann", "general", "/deploy", "now")
            envelope = await socket.frame()
            assert (envelope["type"], envelope["accepts_response_payload"]) == ("slash_commands", True)
            assert "retry_attempt" not in envelope
            payload = envelope["payload"]
            assert (payload["command"], payload["text"]) == ("/deploy", "now")
            assert (payload["channel_name"], payload["user_name"]) == ("general", "ann")
            await socket.acknowledge(envelope, {"text": "deploying", "response_type": "in_channel"})
            await until(lambda: delivery.acknowledged)
            assert workspace.texts("general") == ["deploying"]
            async with aiohttp.ClientSession() as session:
                for number in range(6):
                    async with session.post(payload["response_url"], json={"text": f"step {number}"}) as answer:
                        assert (answer.status, await answer.text()) == (
                            (200, "ok") if number < 5 else (404, "used_url")
                        )
                async with session.post(payload["response_url"] + "x", json={}) as answer:
                    assert answer.status == 404
            last = workspace.messages("general")[-1]
            assert (last.text, last.seen_by) == ("step 4", workspace.person("ann").id)

    run(scenario())


def test_commands_are_not_told_again(workspace: SlackWorkspace) -> None:
    delivery = workspace.command("ann", "general", "/deploy")
    workspace.wait(lambda: delivery.given_up)
    assert len(delivery.attempts) == 1
    assert delivery.failure == "connection_failed"


def test_slack_sdks_client(service: SlackService, workspace: SlackWorkspace) -> None:
    async def scenario() -> None:
        web = AsyncWebClient(base_url=service.api_url)
        client: Any = SocketModeClient(workspace.app_token, web_client=web, ping_interval=0.2)
        requests: list[SocketModeRequest] = []

        async def listen(client: Any, request: SocketModeRequest) -> None:
            requests.append(request)
            await client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))

        client.socket_mode_request_listeners.append(listen)
        await client.connect()
        workspace.say("ann", "general", "one")
        await until(lambda: not workspace.undelivered())
        workspace.disconnect("refresh_requested")
        await until(lambda: workspace.sockets.opened >= 2 and len(workspace.connections) == 1)
        workspace.say("ann", "general", "two")
        await until(lambda: not workspace.undelivered())
        opened = workspace.sockets.opened
        workspace.cut_connections()
        await until(lambda: workspace.sockets.opened > opened)
        workspace.say("ann", "general", "three")
        await until(lambda: not workspace.undelivered())
        await until(lambda: workspace.connections[0].pings > 1)
        await client.close()
        texts = [each.payload["event"]["text"] for each in requests]
        assert list(dict.fromkeys(texts)) == ["one", "two", "three"]

    run(scenario())

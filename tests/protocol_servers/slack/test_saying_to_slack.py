"""Replies said over HTTP to a Slack in memory: once each, in order, at the pace of its tiers, whatever fails."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from trunkline.layer import Layer, MemoryLayer
from trunkline.message_formats.slack import emoji_name, to_slack
from trunkline.protocol_servers.slack.blobs import LayerBlobs
from trunkline.protocol_servers.slack.limiter import LayerState, Limiter
from trunkline.protocol_servers.slack.speaking import Speaker
from trunkline.protocol_servers.slack.web_api import WebApi
from trunkline.protocol_servers.testing.slack import SlackService, SlackWorkspace

SPEED = 50.0  # times as fast as Slack
PATIENCE = 60.0  # seconds; a bound against hanging, never waited for
CLOCKS_DIFFER = 0.05  # the limiter's clock is the wall's, the service's is not


@pytest.fixture(scope="module")
def service() -> Iterator[SlackService]:
    with SlackService() as running:
        yield running


@pytest.fixture
def workspace(service: SlackService, request: pytest.FixtureRequest) -> SlackWorkspace:
    """A workspace of the test's own."""
    made = service.add_workspace(f"w{len(service.workspaces)}")
    made.faults.speed = SPEED
    return made


class Names:
    """What the workspace knows."""

    def __init__(self, workspace: SlackWorkspace) -> None:
        self._state = workspace.state

    async def find_room(self, name: str) -> str | None:
        room = self._state.find_room(name)
        return None if room is None else room.id

    async def find_user(self, name: str) -> str | None:
        person = self._state.find_person(name)
        return None if person is None else person.id


class Voice:
    """A Speaker of one process.

    Attributes:
        receipts: What became of what was said, in order.
        back: What it gave back.
    """

    def __init__(self, service: SlackService, workspace: SlackWorkspace, layer: Layer) -> None:
        loop = asyncio.get_running_loop()
        self.layer = layer
        self.stats: Counter[str] = Counter()
        self.receipts: list[dict[str, Any]] = []
        self.back: list[tuple[str, dict[str, Any]]] = []
        self.api = WebApi(lambda: workspace.bot_token, service.api_url)
        limiter = Limiter(LayerState(layer, loop), "acme", speed=SPEED, stats=self.stats)
        self.speaker = Speaker(
            "acme",
            self.api,
            limiter,
            Names(workspace),
            LayerBlobs(layer, loop),
            token=lambda: workspace.bot_token,
            encode=lambda text, notify: to_slack(text, notify=notify),
            emoji=emoji_name,
            emit=lambda channel, message: self.receipts.append(message),
            give_back=lambda conversation, message: self.back.append((conversation, message)),
            secure=False,
            stats=self.stats,
        )

    async def start(self) -> None:
        await self.api.open()
        await self.speaker.start()

    def say(self, conversation: str, text: str, **keys: Any) -> None:
        self.speaker.say(conversation, {"text": text, "receipt_channel": "receipts", **keys})

    async def all_said(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.speaker):
                await asyncio.sleep(0.01)


def speaking(
    service: SlackService,
    workspace: SlackWorkspace,
    play: Callable[..., Coroutine[Any, Any, None]],
    processes: int = 1,
) -> list[Voice]:
    """Play something with Speakers of several processes on one layer."""

    async def whole() -> list[Voice]:
        layer = MemoryLayer()
        voices = [Voice(service, workspace, layer) for _ in range(processes)]
        for voice in voices:
            await voice.start()
        try:
            await play(*voices)
        finally:
            for voice in voices:
                await voice.speaker.stop(0)
                await voice.api.close()
        return voices

    return asyncio.run(whole())


def check_the_pace(workspace: SlackWorkspace) -> None:
    """Check that no channel was spoken to faster than Slack allows, at any time."""
    for (method, room), most in workspace.bursts().items():
        if method == "chat.postMessage":
            assert most <= 1.0 + CLOCKS_DIFFER, room


def test_500_messages_to_20_channels_under_429s(
    service: SlackService, workspace: SlackWorkspace, tell: Callable[[str], None]
) -> None:
    rooms = [workspace.room(f"room{number}") for number in range(20)]
    for number, room in enumerate(rooms):
        if number % 3 == 0:
            workspace.limit("chat.postMessage", 1, channel=room.id)
        if number % 5 == 1:
            workspace.cut("chat.postMessage", done=True, channel=room.id)
            workspace.cut("chat.postMessage", done=False, channel=room.id)
        if number % 5 == 2:
            workspace.fail("chat.postMessage", status=503, channel=room.id)

    async def play(voice: Voice) -> None:
        for text in range(25):
            for room in rooms:
                voice.say(room.id, f"message {text}")
        await voice.all_said()

    began = time.monotonic()
    (voice,) = speaking(service, workspace, play)
    for room in rooms:
        assert workspace.texts(room.id) == [f"message {text}" for text in range(25)], "once each, in order"
    assert Counter(receipt["status"] for receipt in voice.receipts) == {"sent": 500}
    said = {f"{each.room}:{each.ts}" for room in rooms for each in workspace.messages(room.id)}
    assert {id for receipt in voice.receipts for id in receipt["ids"]} == said
    check_the_pace(workspace)
    assert voice.stats["rate_limited"] == 7
    limited = [call for call in workspace.called("chat.postMessage") if call.status == 429]
    assert len(limited) == 7, "those of the script alone"
    for call in limited:
        after = [each.time for each in workspace.called("chat.postMessage") if each.room == call.room]
        assert min(moment for moment in after if moment > call.time) - call.time >= 1 - CLOCKS_DIFFER, (
            "Retry-After is obeyed"
        )
    calls = len(workspace.called("chat.postMessage"))
    tell(f"500 messages, {calls} calls, {len(limited)} answered with 429, {time.monotonic() - began:.1f} s")


def test_a_channel_with_a_long_wait_holds_nobody(service: SlackService, workspace: SlackWorkspace) -> None:
    slow, quick = workspace.room("slow"), workspace.room("quick")
    workspace.limit("chat.postMessage", 2, channel=slow.id)

    async def play(voice: Voice) -> None:
        for number in range(5):
            voice.say(slow.id, str(number))
            voice.say(quick.id, str(number))
        await voice.all_said()

    speaking(service, workspace, play)
    assert workspace.texts(slow.id) == workspace.texts(quick.id) == list("01234")
    calls = workspace.called("chat.postMessage")
    last_quick = max(call.time for call in calls if call.room == quick.id)
    second_slow = sorted(call.time for call in calls if call.room == slow.id)[1]
    assert last_quick < second_slow, "the quick one was done before the slow one went on"


def test_a_slow_web_api_keeps_the_order(service: SlackService, workspace: SlackWorkspace) -> None:
    rooms = [workspace.room(f"room{number}") for number in range(3)]
    workspace.delay("chat.postMessage", 0.3, times=4, channel=rooms[0].id)

    async def play(voice: Voice) -> None:
        for number in range(5):
            for room in rooms:
                voice.say(room.id, str(number))
        await voice.all_said()

    speaking(service, workspace, play)
    assert [workspace.texts(room.id) for room in rooms] == [list("01234")] * 3
    check_the_pace(workspace)


def test_two_processes_share_the_limits(service: SlackService, workspace: SlackWorkspace) -> None:
    room = workspace.room("shared")
    began = 0.0

    async def play(*voices: Voice) -> None:
        nonlocal began
        began = time.monotonic()
        for number in range(20):
            for each, voice in enumerate(voices):
                voice.say(room.id, f"{each} {number}")
        for voice in voices:
            await voice.all_said()

    voices = speaking(service, workspace, play, processes=2)
    texts = workspace.texts(room.id)
    for each in range(2):
        assert [text for text in texts if text[0] == str(each)] == [f"{each} {number}" for number in range(20)]
    last = max(call.time for call in workspace.called("chat.postMessage"))
    assert last - began >= 39 / SPEED - CLOCKS_DIFFER, "together they are no faster than one"
    assert not any(voice.stats["limits_not_shared"] for voice in voices)


def test_what_one_process_leaves_the_next_one_says(service: SlackService, workspace: SlackWorkspace) -> None:
    room = workspace.room("handed over")

    async def play(first: Voice, second: Voice) -> None:
        for number in range(5):
            first.say(room.id, str(number))
        await first.all_said()
        workspace.limit("chat.postMessage", 5, channel=room.id)
        for number in range(5, 30):
            first.say(room.id, str(number))
        async with asyncio.timeout(PATIENCE):
            while not first.stats["rate_limited"]:
                await asyncio.sleep(0.005)
        assert await first.speaker.stop(0.2)
        assert len(first.back) == 25
        for conversation, message in first.back:
            second.speaker.say(conversation, message)
        await second.all_said()

    voices = speaking(service, workspace, play, processes=2)
    assert workspace.texts(room.id) == list(map(str, range(30)))
    assert sum(len(voice.receipts) for voice in voices) == 30
    limited, following = [call.time for call in workspace.called("chat.postMessage")][5:7]
    assert following - limited >= 2 - CLOCKS_DIFFER, "it obeys the Retry-After that the other was told"


def test_all_that_a_reply_can_ask_for(service: SlackService, workspace: SlackWorkspace) -> None:
    room = workspace.room("general", "ada", "bob")
    question = workspace.say("ada", "general", "a question")
    ada = workspace.person("ada")

    async def play(voice: Voice) -> None:
        async def say(conversation: str, text: str, **keys: Any) -> dict[str, Any]:
            voice.say(conversation, text, **keys)
            await voice.all_said()
            return voice.receipts[-1]

        id = (await say("_23general", "@channel & <!here> <@U1>"))["ids"][0]
        await say("general", "in a thread", thread="new", id=f"{room.id}:{question.ts}")
        await say(f"{room.id}.{question.ts.replace('.', '_2e')}", "in it too")
        assert (await say(room.id, "corrected", edit=id))["ids"] == [id]
        await say(room.id, "", reaction="👍", id=id)
        await say(room.id, "for ada", user="ada")
        await say("_40bob", "hello bob")
        await say(room.id, "waves", action=True)
        await say(room.id, "shown as blocks", blocks=[{"type": "section", "text": {"type": "plain_text", "text": "b"}}])
        await say(room.id, "too many", blocks=[{"type": "divider"}] * 60)
        file = {"name": "notes.txt", "mimetype": "text/plain", "content": "schön".encode()}
        await say(room.id, "a file", files=[file])
        await say(room.id, "long " * 5000, overflow="file")
        await say(room.id, f"now {ada.name}", notify=True)
        voice.speaker.say("", {"method": "users.info", "arguments": {"user": ada.id}, "result_channel": "r"})
        await voice.all_said()

    (voice,) = speaking(service, workspace, play)
    answer = voice.receipts.pop()
    assert answer["user"]["name"] == "ada"
    assert [receipt["status"] for receipt in voice.receipts] == ["sent"] * 13
    said = {each.text: each for each in workspace.log(room.id)}
    edited = said["corrected"]
    assert edited.edited is not None
    assert list(edited.reactions) == ["+1"]
    assert said["in a thread"].thread == said["in it too"].thread == question.ts
    assert said["for ada"].seen_by == ada.id
    assert "_waves_" in said
    assert said["shown as blocks"].blocks
    assert not said["too many"].blocks
    assert said["a file"].files[0].content == "schön".encode()
    assert voice.receipts[10]["ids"] == [f"{room.id}:{said['a file'].ts}"]
    (long,) = [each for each in said.values() if each.files and each.files[0].name == "message.txt"]
    assert long.files[0].content == ("long " * 5000).encode()
    assert workspace.texts("@bob") == ["hello bob"]
    first = workspace.called("chat.postMessage")[0].arguments["text"]
    assert "<!" not in first
    assert "<@" not in first
    assert "@channel" not in first


def test_a_file_that_the_layer_keeps(service: SlackService, workspace: SlackWorkspace) -> None:
    room = workspace.room("files")
    parts = [bytes([number]) * 65_536 for number in range(20)]

    async def play(voice: Voice) -> None:
        key = voice.layer.new_blob()
        for part in parts:
            voice.layer.append_blob(key, part)
        kept = {"name": "large.bin", "mimetype": "application/octet-stream", "body_key": key}
        gone = kept | {"name": "gone.bin", "body_key": voice.layer.new_blob()}
        voice.say(room.id, "a large file", files=[kept])
        voice.say(room.id, "and one more", files=[gone])
        await voice.all_said()

    (voice,) = speaking(service, workspace, play)
    large, text = workspace.log(room.id)
    assert large.files[0].content == b"".join(parts)
    assert text.text == "and one more\n[gone.bin]"
    assert [receipt["status"] for receipt in voice.receipts] == ["sent", "failed"]


def test_text_is_split_and_nothing_is_missing(service: SlackService, workspace: SlackWorkspace) -> None:
    room = workspace.room("long")
    text = "\n".join(f"line {number} with <some> & words" for number in range(600))

    async def play(voice: Voice) -> None:
        voice.say(room.id, text)
        await voice.all_said()

    (voice,) = speaking(service, workspace, play)
    texts = workspace.texts(room.id)
    assert len(texts) > 3
    assert all(len(each) <= 4000 for each in texts)
    assert "\n".join(texts) == to_slack(text)
    assert voice.receipts[0]["status"] == "split"
    assert len(voice.receipts[0]["ids"]) == len(texts)


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda room: setattr(room, "archived", True), "is_archived"),
        (lambda room: room.members.clear(), "not_in_channel"),
    ],
)
def test_rooms_that_cannot_be_spoken_to(
    service: SlackService, workspace: SlackWorkspace, spoil: Callable[[Any], None], error: str
) -> None:
    room, other = workspace.room("closed"), workspace.room("open")
    spoil(room)

    async def play(voice: Voice) -> None:
        voice.say(room.id, "nobody hears")
        voice.say(other.id, "somebody does")
        await voice.all_said()

    (voice,) = speaking(service, workspace, play)
    assert sorted(receipt.get("error", "") for receipt in voice.receipts) == ["", error]
    assert workspace.texts(other.id) == ["somebody does"]

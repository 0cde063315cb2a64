"""The process that speaks in a workspace is killed: the next one takes over, and nothing is said twice."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from trunkline.message_formats.conversation import conversation_channel
from trunkline.protocol_servers.testing.slack import SlackService

from .counts import Counts
from .site import Site, ended, until

ROOMS = 10
EACH = 3  # replies for each room, before the process is killed and after

pytestmark = pytest.mark.campaign

SETTINGS = """
[slack.acme]
api_url = "{url}"
bot_token = {{ file = "bot_token" }}
app_token = {{ file = "app_token" }}
"""


def test_the_next_process_speaks_when_the_first_is_killed(
    make_site: Callable[[str], Site], tmp_path: Path, counts: Counts
) -> None:
    with SlackService() as slack:
        workspace = slack.workspace
        rooms = [workspace.room(f"room{number}") for number in range(ROOMS)]
        (tmp_path / "bot_token").write_text(workspace.bot_token, encoding="ascii")
        (tmp_path / "app_token").write_text(workspace.app_token, encoding="ascii")
        site = make_site(SETTINGS.format(url=slack.api_url))

        def send(first: int) -> None:
            for number in range(first, first + EACH):
                for room in rooms:
                    channel = conversation_channel("slack", "acme", room.id)
                    site.layer.send(channel, {"text": str(number), "receipt_channel": "receipts"})

        def said() -> list[int]:
            return [int(text) for room in rooms for text in workspace.texts(room.id)]

        async def play() -> None:
            first = site.start("serve", "slack")
            await until(lambda: "this process speaks" in first.printed, "the first speaks")
            second = site.start("serve", "slack")
            await until(lambda: "another process speaks" in second.printed, "the second does not")
            send(0)
            await until(lambda: len(said()) >= ROOMS, "the first has said something")
            assert "this process speaks" not in second.printed
            first.signal(signal.SIGKILL)
            await ended(first)
            send(EACH)  # what nobody reads waits in the layer
            site.lapse_lease("slack.reply.acme!")
            await until(lambda: "this process speaks" in second.printed, "the second takes over")
            await until(lambda: said().count(2 * EACH - 1) == ROOMS, "the second says what waited")

        asyncio.run(play())
        texts = {room.name: [int(text) for text in workspace.texts(room.id)] for room in rooms}
        early = sum(number < EACH for number in said())
        counts.limit("of the replies that the killed one had taken said", early, ROOMS, ROOMS * EACH)
        counts.expect("of those that waited said", sum(number >= EACH for number in said()), ROOMS * EACH)
        counts.none("said twice", [name for name, found in texts.items() if max(Counter(found).values()) > 1])
        counts.none("rooms out of order", [name for name, found in texts.items() if found != sorted(found)])
        gaps = []
        for room in rooms:
            posts = [call.time for call in workspace.called("chat.postMessage") if call.room == room.id]
            gaps += [after - before for before, after in itertools.pairwise(posts)]
        counts.none("messages less than a second after another in their room", [gap for gap in gaps if gap < 0.95])
        counts.check(site)

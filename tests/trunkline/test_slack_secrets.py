"""What is logged of a whole run, with every logger at its most talkative: no secret, and nothing that was said."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trunkline.protocol_servers.testing.slack import SlackService, SlackWorkspace

from . import test_slack
from .conftest import wait_until

Start = Callable[..., Any]

settings, slack, workspace = test_slack.settings, test_slack.slack, test_slack.workspace

MARK = "plumbago"  # in whatever is said, by anybody

# Python imports it as each process starts.
TALKATIVE = """
import logging

for name in ("aiohttp", "aiohttp.client", "aiohttp.access", "asyncio", "slack_sdk", "slack_sdk.web", "twisted"):
    logging.getLogger(name).setLevel(1)
"""

ROUTING = """
from trunkline import route


def answer(message):
    message.reply("plumbago back", receipt_channel="receipts")
    message.reply("", files=[{"name": "a.txt", "mimetype": "text/plain", "content": b"plumbago"}])
    message.reply("plumbago for you", user=message["user_id"])
    message.reply("", edit="plumbago")
    message.reply("", user="plumbago")


def ask(message):
    message.reply(method="conversations.history", arguments={"channel": message["channel"]}, result_channel="results")
    message.reply(method="chat.postMessage", arguments={"text": "plumbago"}, result_channel="results")


def note(message):
    pass


routing = [
    route("chat.message", answer),
    route(["slack.command", "slack.action", "slack.shortcut", "slack.view"], ask),
    route(["receipts", "results", "slack.event"], note),
]
"""


def test_nothing_secret_is_logged(
    start: Start,
    settings: Path,
    slack: SlackService,
    workspace: SlackWorkspace,
    folder: Path,
    layer: str,
) -> None:
    (folder / "slackbot.py").write_text(ROUTING, "utf-8")
    (folder / "sitecustomize.py").write_text(TALKATIVE, "utf-8")
    (folder / "secret").write_text(workspace.signing_secret, "ascii")
    text = settings.read_text("utf-8") + 'signing_secret = { file = "secret" }\nendpoints = ["tcp:0"]\n'
    settings.write_text(f'layer = "{layer}"\n{text}', "utf-8")
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    talk = ("--log-level", "debug")
    server = start("serve", "slack", *talk, PYTHONPATH=path, PYTHONASYNCIODEBUG="1")
    worker = start("work", *talk, PYTHONPATH=path)
    port = server.port("http")
    workspace.wait_connected()
    worker.ready()

    def is_answered() -> bool:
        workspace.say("ann", "#dev", f"{MARK} first")  # again and again: the server learns of the worker within seconds
        time.sleep(0.5)
        return f"{MARK} back" in workspace.texts("#dev")

    wait_until(is_answered)
    first = workspace.log("#dev")[0]
    # What people say and press.
    workspace.edit(first, f"{MARK} edited")
    workspace.say("ann", "@ann", f"{MARK} in private")
    workspace.react("ann", first, "+1")
    workspace.upload("ann", "#dev", f"{MARK}.txt", MARK.encode())
    workspace.command("ann", "#dev", "/deploy", MARK)
    workspace.shortcut("ann", f"{MARK}-shortcut")
    workspace.click("ann", workspace.messages("#dev")[-1], MARK, MARK)
    # Trouble of the Web API, and of the connections.
    workspace.limit("chat.postMessage", 1)
    workspace.fail("chat.postMessage", "internal_error", times=1)
    workspace.fail("chat.postMessage", status=503)
    workspace.cut("chat.postMessage", done=True)
    workspace.fail("files.getUploadURLExternal", f"no_{MARK}")
    workspace.answer("chat.postEphemeral", {"ok": False, "error": "not_in_channel", "text": MARK})
    workspace.say("ann", "#dev", f"{MARK} second")
    workspace.wait(lambda: workspace.texts("#dev").count(f"{MARK} back") >= 2)
    workspace.disconnect("refresh_requested")
    workspace.cut_connections()
    workspace.wait_connected()
    # Requests: Slack's own, and others.
    url = f"http://127.0.0.1:{port}/slack/events"
    body = f'{{"type": "event_callback", "team_id": "{workspace.team_id}", "event": {{"type": "{MARK}"}}}}'.encode()
    statuses = [
        workspace.request(url, body)[0],
        workspace.request(url, body + b"}")[0],
        workspace.request(url, body, {"X-Slack-Signature": f"v0={workspace.signing_secret * 2}"})[0],
        workspace.request(f"{url}/{MARK}", body)[0],
        workspace.request(url, b"payload=" + MARK.encode(), {"Content-Type": "application/x-www-form-urlencoded"})[0],
    ]
    assert statuses == [200, 400, 401, 404, 400]
    # And at last nothing is allowed any more.
    workspace.revoke()
    wait_until(lambda: "token_revoked" in server.printed)
    for program in (server, worker):
        program.signal(signal.SIGTERM)
    for program in (server, worker):
        assert program.ended() in (0, 1), program.printed  # 1: what waits to be said is not said
    assert "trunkline.slack" in server.printed
    secrets = [workspace.bot_token, workspace.app_token, workspace.signing_secret, workspace.verification_token, MARK]
    secrets += ["ticket=", *workspace.response_urls, *workspace.triggers]
    for program in (server, worker):
        written = program.printed.replace("no_" + MARK, "")  # Slack's own word for an error is told
        found = [each for each in secrets if each in written]
        assert found == [], [line for line in written.splitlines() if any(each in line for each in found)][:5]

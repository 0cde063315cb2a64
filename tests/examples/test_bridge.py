"""The bridge as its reader would run it: Chromium, a real ngircd and swaks in one room."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from trunkline.protocol_servers.irc.events import Heard

from ..protocol_servers.irc import conftest as irc
from ..trunkline.conftest import Program
from . import test_helpdesk_demo

ROOT = Path(__file__).parents[2]
BRIDGE = ROOT / "examples" / "bridge"
WAIT = 30

chromium, ngircd, peers, public_folder = (
    test_helpdesk_demo.chromium, irc.ngircd, irc.peers, irc.public_folder,
)  # fmt: skip


@pytest.fixture
def program(ngircd: int, tmp_path: Path) -> Iterator[Program]:
    """`trunkline run` in the example's folder, on free ports."""
    folder = copytree(BRIDGE, tmp_path / "bridge")
    settings = folder / "trunkline.toml"
    text = settings.read_text("utf-8")
    for port, free in (("tcp:8000", "tcp:0"), ("tcp:2525", "tcp:0"), ("127.0.0.1:6667", f"127.0.0.1:{ngircd}")):
        assert port in text
        text = text.replace(port, free)
    settings.write_text(f'{text}password = "secret"\npace = 100\n', "utf-8")
    running = Program(("run",), folder, {})
    yield running
    running.kill()


def test_it_is_short() -> None:
    assert len((BRIDGE / "bridge.py").read_text("utf-8").splitlines()) <= 30


def test_what_is_said_in_one_appears_in_the_others(
    program: Program, ngircd: int, peers: Callable[..., Any], chromium: Any, peer: Callable[[str], str]
) -> None:
    program.ready()
    page = chromium.new_context(viewport={"width": 640, "height": 300}).new_page()
    page.set_default_timeout(WAIT * 1000)
    page.goto(f"http://127.0.0.1:{program.port('http')}/")
    page.wait_for_function("document.getElementById('state').textContent === 'connected'")
    eve = peers(ngircd, "eve", password="secret", join=("#bridge",))
    eve.until(lambda seen: "bridge" in {each.nick for each in eve.session.rooms.members("#bridge")})

    def hears(text: str) -> None:
        eve.until(lambda seen: text in [each.text for each in seen if isinstance(each, Heard)])

    def shows(text: str) -> None:
        page.wait_for_function("text => document.querySelector('li:last-child')?.textContent === text", arg=text)

    page.fill("#text", "Is <b>anybody</b> there?")
    page.click("#send")
    shows("Is <b>anybody</b> there?")
    hears("web: Is <b>anybody</b> there?")
    eve.session.say("#bridge", "I am, on IRC")
    eve.flush()
    shows("eve: I am, on IRC")
    server = ["--server", "127.0.0.1", "--port", str(program.port("smtp")), "--from", "dan@example.org"]
    mail = ["--to", "room@example.com", "--body", "And I write a mail.", "--header", "Subject: Hello"]
    told = subprocess.run([peer("swaks"), *server, *mail], capture_output=True, text=True, timeout=WAIT, check=False)
    assert told.returncode == 0, told.stdout
    shows("dan@example.org: And I write a mail.")
    hears("dan@example.org: And I write a mail.")
    assert page.locator("li").all_inner_texts() == [
        "Is <b>anybody</b> there?",
        "eve: I am, on IRC",
        "dan@example.org: And I write a mail.",
    ]
    assert len([each for each in eve.seen if isinstance(each, Heard)]) == 2
    if picture := os.environ.get("BRIDGE_PICTURE"):
        page.screenshot(path=picture)


def test_users_own_test_passes() -> None:
    """`pytest` in the example's folder, as its reader would run it."""
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_bridge.py"],
        cwd=BRIDGE,
        capture_output=True,
        text=True,
        timeout=WAIT * 2,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr

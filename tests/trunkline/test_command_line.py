"""The commands that start nothing, called in this process; and the words before them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import trunkline
from trunkline.command_line import main, reference
from trunkline.command_line.configuration import ServerTables, open_layer_of, servers_of, shown_layer
from trunkline.command_line.parser import COMMANDS
from trunkline.layer import ChannelFull
from trunkline.operations.settings import ChannelSettings, Configuration
from trunkline.workers import Routing, route

Out = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("here")


def told(capsys: Out, *argv: str, code: int = 0) -> str:
    assert main(argv) == code
    out, err = capsys.readouterr()
    assert bool(err) is (code != 0 and not out), err
    return out or err


def nothing(message: object) -> None:
    """Consume."""


def test_version(capsys: Out) -> None:
    assert told(capsys, "--version") == f"trunkline {trunkline.__version__}\n"


def test_help_of_every_command_has_an_example(capsys: Out) -> None:
    assert "trunkline run" in told(capsys, "--help")
    for name in COMMANDS:
        text = told(capsys, name, "--help")
        assert "examples:\n  " in text
        assert f"trunkline {name}" in text.partition("examples:")[2]


def test_reference_is_the_help() -> None:
    page = reference()
    assert all(f"## `trunkline {name}`" in page for name in COMMANDS)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ((), "a command is missing: run, serve, work, bus, check, routes, formats"),
        (("chekc",), "unknown command 'chekc'; did you mean check?"),
        (("--nonsense",), "the following arguments are required: COMMAND"),
        (("routes", "--path", "/", "--text", "x"), "argument --text: not allowed with argument --path"),
        (("check", "a", "b"), "unrecognized arguments: b"),
    ],
)
def test_wrong_usage_is_2_in_one_line(capsys: Out, argv: tuple[str, ...], expected: str) -> None:
    line = told(capsys, *argv, code=2)
    assert line.startswith(f"trunkline: {expected}")
    assert line.count("\n") == 1


def test_as_a_program(here: Path) -> None:
    """The arguments come from the process, and a reader that leaves early is no failure."""
    program = subprocess.run(
        f"'{sys.executable}' -m trunkline formats --asyncapi | head -c 1", shell=True, capture_output=True, check=False
    )
    assert (program.stdout, program.stderr) == (b"{", b"")
    ended = subprocess.run([sys.executable, "-m", "trunkline", "nonsense"], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("trunkline: unknown command 'nonsense'")


@pytest.mark.parametrize(
    ("command", "code", "err"),
    [
        ("formats >&-", 0, ""),
        ("formats <&- >&- 2>&-", 0, ""),
        ("nonsense 2>&-", 2, ""),
        ("formats >/dev/full", 1, "trunkline: cannot write to stdout: No space left on device\n"),
        ("run --help >/dev/full", 1, "trunkline: cannot write to stdout: No space left on device\n"),
    ],
)
def test_with_a_stdout_that_takes_nothing(here: Path, command: str, code: int, err: str) -> None:
    ended = subprocess.run(
        f"'{sys.executable}' -m trunkline {command}", shell=True, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (code, err)


def test_in_a_locale_that_lacks_letters(here: Path) -> None:
    """What cannot be shown is shown as its number."""
    (here / "page.py").write_text("from trunkline import route\nrouting = {'x': 'page.größe'}\n", encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-m", "trunkline", "routes", "page"],
        capture_output=True,
        check=False,
        env={"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"},  # and no HOME
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"trunkline: page.py: 'page' has no attribute 'gr\\xf6\\xdfe'")
    (here / "page.py").write_text("def größe(m): ...\nrouting = {'x': größe}\n", encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-m", "trunkline", "routes", "page"],
        capture_output=True,
        check=False,
        env={"PYTHONIOENCODING": "ascii"},
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"page.gr\\xf6\\xdfe" in ended.stdout


def test_ctrl_c_while_a_command_works_is_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(COMMANDS["formats"], "execute", interrupted)
    assert main(["formats"]) == 1


def test_errors_are_red_only_on_a_terminal(capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(capsys, "nonsense", code=2).startswith("trunkline: ")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert told(capsys, "nonsense", code=2).startswith("\x1b[31mtrunkline:\x1b[0m ")


class TestFormats:
    def test_all(self, capsys: Out) -> None:
        lines = told(capsys, "formats").splitlines()
        assert any(line.startswith("http.request ") for line in lines)
        assert any(line.startswith("email.receive ") for line in lines)

    def test_one(self, capsys: Out) -> None:
        text = told(capsys, "formats", "http.request")
        assert text.startswith("http.request\n")
        assert "query_string" in text

    def test_family(self, capsys: Out) -> None:
        assert told(capsys, "formats", "http.request.body?abc").startswith("http.request.body?")

    def test_json_schema(self, capsys: Out) -> None:
        schema = json.loads(told(capsys, "formats", "udp.receive", "--json-schema"))
        assert schema["title"] == "udp.receive"
        assert "data" in schema["properties"]
        every = json.loads(told(capsys, "formats", "--json-schema"))
        assert every["udp.receive"] == schema
        assert "chat.message" in every

    def test_asyncapi(self, capsys: Out) -> None:
        document = json.loads(told(capsys, "formats", "--asyncapi"))
        assert document["asyncapi"].startswith("3.")
        assert len(document["channels"]) > 10
        one = json.loads(told(capsys, "formats", "udp.receive", "--asyncapi"))
        assert {channel["address"] for channel in one["channels"].values()} == {"udp.receive", None}

    def test_unknown(self, capsys: Out) -> None:
        line = told(capsys, "formats", "http.reqest", code=2)
        assert line == "trunkline: no format is called 'http.reqest'; did you mean http.request?\n"


MAIL = """
from trunkline.workers import route


def support(message, ticket):
    pass


def page(message):
    pass


def say(message, text):
    pass


routing = [
    route("email.receive", support, address=r"^support\\+(?P<ticket>\\d+)@example\\.com$"),
    route("http.request", page, path="^/$", method="^GET$"),
    route("chat.message", say, text=r"^!say (?P<text>.+)$"),
    route("websocket.receive", page, path="^/room$"),
]
"""


class TestRoutes:
    @pytest.fixture(autouse=True)
    def mail(self, here: Path) -> None:
        (here / "mail.py").write_text(MAIL, encoding="utf-8")

    def test_table(self, capsys: Out) -> None:
        lines = told(capsys, "routes", "mail").splitlines()
        assert lines[0].split() == ["channels", "filters", "consumer", "where"]
        channel, path, method, consumer, where = lines[2].split()
        assert (channel, consumer, where) == ("http.request", "mail.page", "mail.py:19")
        assert "^/$" in path
        assert "^GET$" in method
        assert len(lines) == 5

    def test_the_configured_routing(self, capsys: Out) -> None:
        assert "app.routing.page" in told(capsys, "routes")

    def test_address(self, capsys: Out) -> None:
        text = told(capsys, "routes", "mail", "--address", "support+42@Example.COM")
        assert text.startswith("email.receive: mail.support(message, ticket='42')")

    def test_address_that_nobody_takes(self, capsys: Out) -> None:
        first, why = told(capsys, "routes", "mail", "--address", "nobody@example.com").splitlines()
        answer = "accept=False code=550 text='5.1.1 No such recipient here'"
        assert first == f"email.receive: no route takes it; the answer is {answer}"
        assert why.startswith("    mail.support: address=")

    def test_path(self, capsys: Out) -> None:
        assert told(capsys, "routes", "mail", "--path", "/?q=1").startswith("http.request: mail.page(message)")
        lines = told(capsys, "routes", "mail", "--path", "/%72oom").splitlines()
        assert lines[0] == "http.request: no route takes it; the answer is status=404"
        assert lines[-1].startswith("websocket.receive: mail.page(message)")

    @pytest.mark.parametrize("asked", ["postmaster", "<PostMaster>", "Postmaster@anywhere.example"])
    def test_postmaster(self, capsys: Out, here: Path, asked: str) -> None:
        with (here / "trunkline.toml").open("a", encoding="utf-8") as file:
            file.write('\n[lmtp]\npostmaster = "support+1@example.com"\n')
        first, *rest = told(capsys, "routes", "mail", "--address", asked).splitlines()
        assert first.endswith(" goes to support+1@example.com")
        assert "email.receive: mail.support(message, ticket='1')" in "\n".join(rest)

    @pytest.mark.parametrize("asked", ["support", "a@b@c", "a b@c", "<>", "a@b> SIZE=1", "a@-b"])
    def test_address_that_is_none(self, capsys: Out, asked: str) -> None:
        assert "is not an address that mail could be sent to" in told(
            capsys, "routes", "mail", "--address", asked, code=2
        )

    def test_what_becomes_of_what_no_route_takes(self, capsys: Out, here: Path) -> None:
        (here / "rooms.py").write_text(
            "from trunkline import route\n"
            "routing = [route('websocket.connect', print, path='^/a'), route('websocket.receive', print, path='^/b'),"
            " route('chat.message', print, text='^!')]\n",
            encoding="utf-8",
        )
        judged = "websocket.connect: no route takes it; it is accepted, since a route of websocket.receive may match\n"
        assert judged in told(capsys, "routes", "rooms", "--path", "/b")
        refused = told(capsys, "routes", "rooms", "--path", "/c")
        assert "websocket.connect: no route takes it; the answer is close=True\n" in refused
        assert "websocket.receive: no route takes it; it is dropped\n" in refused
        assert told(capsys, "routes", "rooms", "--text", "hi").startswith("chat.message: no route takes it; it is drop")

    def test_text(self, capsys: Out) -> None:
        text = told(capsys, "routes", "mail", "--text", "!say hi")
        assert text.startswith("chat.message: mail.say(message, text='hi')")

    def test_channels_without_a_route(self, capsys: Out) -> None:
        text = told(capsys, "routes", "app.routing", "--address", "x@y")
        assert text == "no route listens to email.recipient or email.receive\n"

    def test_no_routing(self, capsys: Out, here: Path) -> None:
        (here / "trunkline.toml").unlink()
        line = told(capsys, "routes", code=2)
        assert line.startswith("trunkline: no routing is named")


class TestCheck:
    def test_everything_is_fine(self, capsys: Out) -> None:
        lines = told(capsys, "check").splitlines()
        assert [line.split()[:2] for line in lines] == [
            ["fine", "settings:"],
            ["fine", "layer:"],
            ["fine", "routing:"],
            ["fine", "http:"],
        ]
        assert lines[2] == "fine     routing: app.routing, 3 routes on http.request"
        assert lines[3] == "fine     http: tcp:0"

    def test_one_route_and_none(self, capsys: Out, here: Path) -> None:
        (here / "few.py").write_text("one = {'http.request': print}\nnone = []\n", encoding="utf-8")
        assert "few:one, 1 route on http.request\n" in told(capsys, "check", "few:one")
        assert "problem  few:none has no route\n" in told(capsys, "check", "few:none", code=2)

    def test_every_problem_is_shown(self, capsys: Out, here: Path) -> None:
        (here / "trunkline.toml").write_text(
            'layer = "redis+odd://x"\nrouting = "odd"\n[http]\nendpoint = []\nmax_head = 1\n', encoding="utf-8"
        )
        (here / "odd.py").write_text(
            "from trunkline.workers import route\n\n\ndef consume(message):\n    pass\n\n\n"
            'routing = [route("http.reqest", consume), route("email.receive", consume, address="a@example.com")]\n',
            encoding="utf-8",
        )
        lines = told(capsys, "check", code=2).splitlines()
        problems = [line.removeprefix("problem  ") for line in lines if line.startswith("problem")]
        assert problems[0] == "trunkline.toml: [http] endpoint: unknown key; did you mean endpoints?"
        assert problems[1] == "trunkline.toml: [http] max_head: must be at least 256, got 1"
        assert problems[2].startswith("layer: 'redis+odd://x': no layer engine is called 'redis+odd'")
        assert problems[3] == "odd.py:8: channel 'http.reqest' is not known; did you mean 'http.request'?"
        assert "an unescaped dot" in problems[4]

    def test_no_password_is_shown(self) -> None:
        assert shown_layer(Configuration(layer="redis://me:hunter2@host/0")) == "redis://host/0"

    def test_routing_that_does_not_import(self, capsys: Out, here: Path) -> None:
        (here / "odd.py").write_text("1 +\n", encoding="utf-8")
        assert "problem  odd.py:1: SyntaxError" in told(capsys, "check", "odd", code=2)

    def test_file_that_is_no_toml(self, capsys: Out, here: Path) -> None:
        (here / "other.toml").write_text("[http\n", encoding="utf-8")
        text = told(capsys, "check", "-c", "other.toml", code=2)
        assert text.startswith("problem  other.toml: is not valid TOML: ")

    def test_without_a_file(self, capsys: Out, here: Path) -> None:
        (here / "trunkline.toml").unlink()
        text = told(capsys, "check", "app.routing")
        assert text.startswith("fine     settings: no file, so the defaults\n")
        assert "fine     http: tcp:8000\n" in text

    @pytest.mark.parametrize(
        ("endpoint", "expected"),
        [
            ("tcp:80000", "tcp:80000: the port must be a number from 0 to 65535, not '80000'"),
            ("tcp", "tcp: expected tcp:PORT"),
            ("tpc:8000", "tpc:8000: not an endpoint: "),
            ("ssl:x:privateKey=a", "ssl:x:privateKey=a: the port must be a number"),
        ],
    )
    def test_endpoint_that_makes_no_sense(
        self, capsys: Out, monkeypatch: pytest.MonkeyPatch, endpoint: str, expected: str
    ) -> None:
        monkeypatch.setenv("TRUNKLINE_HTTP_ENDPOINTS", f"{endpoint},unix:x.sock,tcp:8000:interface=0.0.0.0")
        lines = told(capsys, "check", code=2).splitlines()
        assert lines[-3].startswith(f"problem  {expected}")
        assert lines[-2:] == ["fine     http: unix:x.sock", "fine     http: tcp:8000:interface=0.0.0.0"]

    def test_where_providers_post(self, capsys: Out, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("S", "user:password")
        (here / "trunkline.toml").write_text(
            'routing = "app.routing"\n[smtp.webhooks.postmark]\nendpoints = ["tcp:8025", "tpc:1"]\n'
            'path = "/x"\nsecret = { env = "S" }\n',
            encoding="utf-8",
        )
        lines = told(capsys, "check", code=2).splitlines()
        assert lines[-2] == "fine     smtp.webhooks.postmark: tcp:8025 at /x"
        assert lines[-1].startswith("problem  tpc:1: not an endpoint: ")


class TestConfiguration:
    def test_servers_without_a_table(self) -> None:
        web = Routing([route("http.request", nothing)])
        assert list(servers_of(Configuration(), web)) == ["http"]
        mail = Routing([route("email.receive", nothing)])
        servers = servers_of(Configuration(), mail)
        assert {name: each.endpoints for name, each in servers.items()} == {"http": ["tcp:8000"], "smtp": ["tcp:2525"]}

    def test_servers_with_a_table(self) -> None:
        configured = Configuration(servers={"udp": object()})
        assert list(servers_of(configured, Routing([route("email.receive", nothing)]))) == ["udp"]

    def test_a_server_that_would_listen_to_nothing(self, capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TRUNKLINE_HTTP_ENDPOINTS", "")
        expected = "problem  [http] endpoints: the list is empty, so nothing could connect\n"
        assert expected in told(capsys, "check", code=2)

    def test_channels_reach_the_layer(self) -> None:
        channels = {
            "few.*": ChannelSettings(capacity=1),
            "*": ChannelSettings(expiry=1.0),
        }
        layer = open_layer_of(Configuration(channels=channels))
        layer.send("few.jobs", {})
        layer.send("other", {})
        layer.send("other", {})
        with pytest.raises(ChannelFull):
            layer.send("few.jobs", {})
        layer.close()

    def test_tables_are_those_of_the_servers(self) -> None:
        tables = ServerTables()
        assert {"http", "smtp", "udp"} <= set(tables)
        assert len(tables) == len(set(tables))
        assert tables["udp"].__name__ == "UdpSettings"

"""Settings: three sources in their order, and every mistake named by its place."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from trunkline.operations.errors import SettingsError, UsageError
from trunkline.operations.secret import Secret
from trunkline.operations.settings import Configuration, load
from trunkline.operations.tables import table


@dataclass
class Static:
    prefix: str = "/static/"
    folder: str = "."


@dataclass
class Web:
    endpoints: list[str] = field(default_factory=lambda: ["tcp:8000"])
    response_timeout: float = field(default=60.0, metadata={"min": 1, "max": 3600})
    max_head: int = field(default=65536, metadata={"min": 1024})
    proxy: bool = False
    log: Literal["common", "json", "off"] = "common"
    password: str | None = None
    static: Static = field(default_factory=Static)
    names: dict[str, int] = field(default_factory=dict)
    pace: tuple[float, ...] = ()
    origins: list[str] | bool = True
    made: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.proxy and not self.endpoints:
            raise ValueError("proxy needs endpoints")


@dataclass
class Keyed:
    """A table with a secret of the strict kind."""

    token: Secret
    other: Secret | None = None


@dataclass
class Needy:
    address: str


TABLES: dict[str, type[Any]] = {"web": Web, "needy": Needy, "keyed": Keyed}
Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write trunkline.toml into the current folder, and name it as people do."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> str:
        (tmp_path / "trunkline.toml").write_text(text, encoding="utf-8")
        return "trunkline.toml"

    return write


def problems(path: str | None, environ: dict[str, str] | None = None, **overrides: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(path, environ or {}, overrides, TABLES)
    return list(caught.value.problems)


def problem(path: str | None, environ: dict[str, str] | None = None, **overrides: Any) -> str:
    (only,) = problems(path, environ, **overrides)
    return only


def test_nothing_given_is_the_defaults() -> None:
    assert load(None, {"HOME": "/"}, {}, TABLES) == Configuration()


def test_file(write: Write) -> None:
    path = write(
        """
        layer = "memory://"
        routing = "helpdesk.routing"
        [channels."email.*"]
        capacity = 5000
        [channels."*"]
        expiry = 5
        [web]
        endpoints = ["tcp:1", "tcp:2"]
        response_timeout = 5
        proxy = true
        log = "json"
        pace = [1, 2.5]
        origins = false
        [web.static]
        prefix = "/s/"
        [web.names]
        a = 1
        [worker]
        threads = 2
        """
    )
    configuration = load(path, {}, {}, TABLES)
    assert (configuration.path, configuration.layer, configuration.routing) == (path, "memory://", "helpdesk.routing")
    assert list(configuration.channels) == ["email.*", "*"]
    assert configuration.channels["email.*"].capacity == 5000
    assert configuration.channels["*"].expiry == 5.0
    web = configuration.servers["web"]
    assert isinstance(web, Web)
    assert (web.endpoints, web.response_timeout, web.proxy, web.log) == (["tcp:1", "tcp:2"], 5.0, True, "json")
    assert (web.static, web.names, web.pace, web.origins) == (Static("/s/"), {"a": 1}, (1.0, 2.5), False)
    assert isinstance(web.response_timeout, float)
    assert configuration.worker.threads == 2
    assert list(configuration.servers) == ["web"]


def test_flags_come_before_environment_before_file(write: Write) -> None:
    path = write('layer = "file"\nrouting = "file"\n[worker]\ngrace = 1\nthreads = 1\nprefetch = 1\n')
    environ = {"TRUNKLINE_LAYER": "env", "TRUNKLINE_WORKER_GRACE": "2.5", "TRUNKLINE_WORKER_THREADS": "2"}
    overrides = {"layer": None, "routing": "flag", "worker": {"grace": 3.0, "threads": None}}
    configuration = load(path, environ, overrides, TABLES)
    assert (configuration.layer, configuration.routing) == ("env", "flag")
    worker = configuration.worker
    assert (worker.grace, worker.threads, worker.prefetch) == (3.0, 2, 1)


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("ENDPOINTS", "tcp:1, tcp:2,", "endpoints", ["tcp:1", "tcp:2"]),
        ("ENDPOINTS", "", "endpoints", []),
        ("RESPONSE_TIMEOUT", "7", "response_timeout", 7.0),
        ("MAX_HEAD", " 2048 ", "max_head", 2048),
        ("PROXY", "Yes", "proxy", True),
        ("PROXY", "off", "proxy", False),
        ("LOG", "off", "log", "off"),
        ("PASSWORD", "x", "password", "x"),
        ("PASSWORD", "", "password", None),
        ("STATIC_PREFIX", "/s/", "static", Static("/s/")),
        ("PACE", "1,2", "pace", (1.0, 2.0)),
        ("ORIGINS", "a,b", "origins", ["a", "b"]),
    ],
)
def test_environment(variable: str, text: str, key: str, value: object) -> None:
    configuration = load(None, {f"TRUNKLINE_WEB_{variable}": text}, {}, TABLES)
    assert getattr(configuration.servers["web"], key) == value


def test_environment_goes_into_a_table_of_the_file(write: Write) -> None:
    path = write('[web.static]\nfolder = "www"\n')
    configuration = load(path, {"TRUNKLINE_WEB_STATIC_PREFIX": "/s/"}, {}, TABLES)
    assert configuration.servers["web"].static == Static("/s/", "www")


def test_empty_layer_in_the_environment_is_unset(write: Write) -> None:
    assert load(write('layer = "memory://"'), {"TRUNKLINE_LAYER": ""}, {}, TABLES).layer == "memory://"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[web]\nrespnse_timeout = 1", "[web] respnse_timeout: unknown key; did you mean response_timeout?"),
        ("[web.static]\nprefx = ''", "[web.static] prefx: unknown key; did you mean prefix?"),
        ("laier = ''", "laier: unknown key; did you mean layer?"),
        ("[wbe]\n", "wbe: unknown key; did you mean web?"),
        (
            '["odd\\nkey"]',
            '"odd\\nkey": unknown key; what can stand here: '
            "channels, keyed, layer, needy, operations, routing, web, worker",
        ),
        ("[web]\nendpoints = 'tcp:1'", "[web] endpoints: expected a list in brackets, got 'tcp:1'"),
        (
            "[web]\nendpoints = ['a', 1]",
            '[web] endpoints, item 2: expected a text in quotes or { env = "NAME" } or { file = "path" }, got 1',
        ),
        ("[web]\nresponse_timeout = 'x'", "[web] response_timeout: expected a number, got 'x'"),
        ("[web]\nresponse_timeout = inf", "[web] response_timeout: expected a number, got inf"),
        ("[web]\nresponse_timeout = 0", "[web] response_timeout: must be at least 1, got 0"),
        ("[web]\nresponse_timeout = 3601", "[web] response_timeout: must be at most 3600, got 3601"),
        ("[web]\nmax_head = true", "[web] max_head: expected a whole number, got True"),
        ("[web]\nmax_head = 1e6", "[web] max_head: expected a whole number, got 1000000.0"),
        ("[web]\nproxy = 1", "[web] proxy: expected true or false, got 1"),
        ("[web]\nlog = 'xml'", '[web] log: expected "common" or "json" or "off", got \'xml\''),
        ("[web]\norigins = 'x'", "[web] origins: expected a list or true or false, got 'x'"),
        ("[web]\nstatic = 1", "[web] static: expected a table, got 1"),
        ("[web]\nnames = {a = 'x'}", "[web.names] a: expected a whole number, got 'x'"),
        (
            "[web]\npassword = 1",
            '[web] password: expected a text in quotes or { env = "NAME" } or { file = "path" }, got something else',
        ),
        (
            "[web]\npassword = {env = 1}",
            '[web] password: expected a text in quotes or { env = "NAME" } or { file = "path" }',
        ),
        ("[web]\nproxy = true\nendpoints = []", "[web]: proxy needs endpoints"),
        ("web = 1", "web: expected a table, [web]"),
        ("[needy]", "[needy] address: is required"),
        ("channels = 1", 'channels: expected tables, [channels."email.*"]'),
        ("[channels]\n'a.*' = 1", '[channels."a.*"]: expected a table with capacity, expiry or durable'),
        (
            "[channels.email.receive]\ncapacity = 1",
            '[channels.email]: a channel pattern is written in quotes: [channels."email.*"]',
        ),
        ("[channels.x]\ncapacity = 0", "[channels.x] capacity: must be at least 1, got 0"),
        ("[channels.x]\ndurable = 1", "[channels.x] durable: expected true or false, got 1"),
        ("[operations]\nport = 65536", "[operations] port: must be at most 65535, got 65536"),
        (
            "[operations]\nport = 1\nhost = '0.0.0.0'",
            '[operations]: host 0.0.0.0 is open to others and needs a token = { env = "NAME" }',
        ),
        (
            "[operations]\ntoken = 'hunter2'",
            '[operations] token: expected { env = "NAME" } or { file = "path" }: '
            "a secret does not stand in the file itself",
        ),
        ("layer = 1", 'layer: expected a text in quotes or { env = "NAME" } or { file = "path" }, got 1'),
    ],
)
def test_mistakes_in_the_file(write: Write, text: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(write(text), {}, {}, TABLES)
    line = str(caught.value)
    assert line == f"trunkline.toml: {expected}"
    assert "\n" not in line
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("WEB_RESPNSE_TIMEOUT", "1", "unknown setting; did you mean TRUNKLINE_WEB_RESPONSE_TIMEOUT?"),
        ("WBE_ENDPOINTS", "1", "unknown setting; did you mean TRUNKLINE_WEB_ENDPOINTS?"),
        ("CHANNELS_X", "1", None),
        ("WEB_MAX_HEAD", "many", "expected a whole number, got 'many'"),
        ("WEB_MAX_HEAD", "1", "must be at least 1024, got '1'"),
        ("WEB_PROXY", "maybe", "expected true or false, got 'maybe'"),
        ("WEB_PORT", "8000", None),
        ("OPERATIONS_PORT", "many", "expected a whole number, got 'many'"),
        ("OPERATIONS_TOKE", "x", "unknown setting; did you mean TRUNKLINE_OPERATIONS_TOKEN?"),
    ],
)
def test_mistakes_in_the_environment(name: str, value: str, expected: str | None) -> None:
    line = problem(None, {f"TRUNKLINE_{name}": value})
    assert line.startswith(f"TRUNKLINE_{name}: {expected or 'unknown setting; '}")


def test_service_links_of_kubernetes_are_not_settings() -> None:
    environ = {
        "TRUNKLINE_SERVICE_HOST": "10.0.0.1",
        "TRUNKLINE_SERVICE_PORT": "80",
        "TRUNKLINE_PORT": "tcp://10.0.0.1:80",
        "TRUNKLINE_WEB_PORT": "tcp://10.0.0.1:80",
        "TRUNKLINE_WEB_PORT_80_TCP_ADDR": "10.0.0.1",
        "TRUNKLINE_IRC_SERVICE_HOST": "10.0.0.1",
    }
    assert load(None, environ, {}, TABLES) == Configuration()


def test_mistakes_in_flags_name_the_flag() -> None:
    assert problem(None, worker={"processes": 0}) == "--processes: must be at least 1, got 0"


def test_all_mistakes_are_collected(write: Write) -> None:
    path = write("[web]\nmax_head = 'x'\nproxy = 3\n[worker]\nthreads = 0\n")
    found = problems(path, {"TRUNKLINE_WORKER_GRACE": "-1"})
    assert len(found) == 4
    with pytest.raises(SettingsError) as caught:
        load(path, {}, {}, TABLES)
    assert str(caught.value).endswith(" (and 2 more: trunkline check lists them)")


def test_secrets(write: Write, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n", encoding="utf-8")
    path = write("[web]\npassword = { env = 'PASSWORD' }\nendpoints = ['a', { file = 'token' }]\n")
    web = load(path, {"PASSWORD": "from-env"}, {}, TABLES).servers["web"]
    assert (web.password, web.endpoints) == ("from-env", ["a", "from-file"])


def test_secret_files_are_relative_to_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x", encoding="utf-8")
    (tmp_path / "t.toml").write_text("[web]\npassword = { file = 'token' }\n", encoding="utf-8")
    assert load(str(tmp_path / "t.toml"), {}, {}, TABLES).servers["web"].password == "x"


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ('{ env = "GONE" }', "the environment variable GONE is not set"),
        ('{ file = "gone" }', "cannot read the file gone: No such file or directory"),
        ('{ file = "long" }', "the file long is over 64 KiB, too long for a secret"),
        ('{ file = "binary" }', "the file binary is not UTF-8 text"),
    ],
)
def test_secrets_that_cannot_be_had(write: Write, tmp_path: Path, form: str, expected: str) -> None:
    (tmp_path / "long").write_bytes(b"x" * 65537)
    (tmp_path / "binary").write_bytes(b"\xff")
    assert problem(write(f"[web]\npassword = {form}")) == f"trunkline.toml: [web] password: {expected}"


def test_no_error_shows_a_secret() -> None:
    @dataclass
    class Guarded:
        token: int = 0

    with pytest.raises(SettingsError) as caught:
        load(None, {"TRUNKLINE_GUARDED_TOKEN": "hunter2"}, {}, {"guarded": Guarded})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[web\n", "is not valid TOML: "),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"[web]\n[web]\n", "is not valid TOML: "),
    ],
)
def test_files_that_are_no_toml(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "t.toml"
    path.write_bytes(content)
    assert problem(str(path)).startswith(f"{path}: {expected}")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert problem(str(tmp_path / "gone")) == f"{tmp_path / 'gone'}: cannot be read: No such file or directory"
    assert problem(str(tmp_path)) == f"{tmp_path}: cannot be read: Is a directory"


def test_a_table_whose_extra_is_missing_matters_only_when_used() -> None:
    class Lazy(dict[str, type[Any]]):
        def __getitem__(self, name: str) -> type[Any]:
            raise UsageError("Mail needs trunkline[email]: pip install 'trunkline[email]'")

    tables = Lazy(mail=Static)
    assert load(None, {}, {}, tables) == Configuration()
    with pytest.raises(UsageError, match=r"trunkline\[email\]"):
        load(None, {"TRUNKLINE_MAIL_PREFIX": "x"}, {}, tables)
    with pytest.raises(SettingsError, match="TRUNKLINE_WORKER_THREADS"):
        load(None, {"TRUNKLINE_WORKER_THREAD": "x"}, {}, tables)


def test_one_table_by_itself() -> None:
    assert table(Static, {"prefix": "/"}, "here: [static]", {}) == Static("/")
    with pytest.raises(SettingsError, match=r"^here: \[static\] prefx: unknown key; did you mean prefix\?$"):
        table(Static, {"prefx": "/"}, "here: [static]", {})


def test_tables_that_are_not_wanted_are_somebody_elses(write: Write) -> None:
    """A worker need not load a server to read its own settings; and what is nobody's is still an error."""

    class Unread(dict[str, type[Any]]):
        def __getitem__(self, name: str) -> type[Any]:
            assert name != "needy"
            return super().__getitem__(name)

    path = write("[needy]\nnonsense = 1\n[web]\nmax_head = 2048\n")
    environ = {"TRUNKLINE_NEEDY_ADDRESS": "x", "TRUNKLINE_WEB_PROXY": "true"}
    read = load(path, environ, {}, Unread(TABLES), ["web"])
    assert read.servers == {"web": Web(max_head=2048, proxy=True)}
    assert load(path, environ, {}, Unread(TABLES), []).servers == {}
    with pytest.raises(SettingsError, match="TRUNKLINE_NEDY_ADDRESS: unknown setting"):
        load(path, {"TRUNKLINE_NEDY_ADDRESS": "x"}, {}, Unread(TABLES), ["web"])


def test_a_secret_never_stands_in_the_file_itself(write: Write, tmp_path: Path) -> None:
    assert problem(write("[keyed]\ntoken = 'abc'")) == (
        'trunkline.toml: [keyed] token: expected { env = "NAME" } or { file = "path" }: a secret does not stand in the '
        "file itself"
    )
    path = write("[keyed]\ntoken = { file = 'token' }\nother = { env = 'OTHER' }")
    (tmp_path / "token").write_text(" abc \n", encoding="utf-8")
    keyed = load(str(path), {"OTHER": "def"}, {}, TABLES).servers["keyed"]
    assert (keyed.token.value, keyed.other.value) == ("abc", "def")
    assert "abc" not in repr(keyed)
    (tmp_path / "token").write_text("changed", encoding="utf-8")
    assert keyed.token.value == "changed"
    given = {"TRUNKLINE_KEYED_TOKEN": "of the environment", "TRUNKLINE_KEYED_OTHER": ""}
    keyed = load(None, given, {}, TABLES).servers["keyed"]
    assert (keyed.token.value, keyed.other) == ("of the environment", None)
    assert problem(write("[keyed]\ntoken = { env = 'BLANK' }"), {"BLANK": " "}).endswith("[keyed] token: is empty")

"""Who may log in: files of hashed passwords, callables of the user's, and real clients that log in."""

from __future__ import annotations

import asyncio
import logging
import os
import smtplib
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trunkline.operations.errors import UsageError
from trunkline.protocol_servers.smtp import SmtpServer, SmtpSettings, logins, passwords
from trunkline.protocol_servers.smtp.logins import Logins, UserFile, load_check
from trunkline.protocol_servers.smtp.passwords import make_line, read_lines

PATIENCE = 60  # seconds; a bound against hanging, never waited for
SECRET = "correct horse; ünïcode"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_COST", (4, 1, 1))


def test_a_line_is_read_again() -> None:
    users = read_lines(f"# people\n\n{make_line('ann', SECRET)}\n  {make_line('bob@example.org', '')}\n")
    assert list(users) == ["ann", "bob@example.org"]
    assert users["ann"].fits(SECRET)
    assert not users["ann"].fits(SECRET + " ")
    assert users["bob@example.org"].fits("")
    assert make_line("ann", SECRET) != make_line("ann", SECRET)


def test_a_hash_of_other_software() -> None:
    """The vector of RFC 7914 section 12, written as passlib writes it."""
    digest = "/bq+HJ00cgB4VucZDQHp/nxq18vII3gw53N2Y0s3MWIurzDZLiKjiG/xCSedmDDaxyevuUqD7m2DYMvfoswGQA"
    assert read_lines(f"a:$scrypt$ln=10,r=8,p=16$TmFDbA${digest}")["a"].fits("password")
    assert read_lines(f"a:$scrypt$ln=10,r=8,p=16$TmFDbA${digest.replace('+', '.')}")["a"].fits("password")


@pytest.mark.parametrize("user", ["", "a:b", "#a", " a", "a\nb", "a\x1b"])
def test_names_that_are_none(user: str) -> None:
    with pytest.raises(ValueError, match="cannot be a user's name"):
        make_line(user, SECRET)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("ann", "line 2 is not user:"),
        ("ann:secret", "line 2 is not user:"),
        ("ann:$6$salt$hash", "line 2 is not user:"),
        ("ann:$scrypt$ln=30,r=8,p=1$YQ$YQ", "line 2 asks for too much work"),
        ("ann:$scrypt$ln=20,r=99,p=1$YQ$YQ", "line 2 asks for too much work"),
        ("ann:$scrypt$ln=0,r=8,p=1$YQ$YQ", "line 2 asks for too much work, or for none"),
        ("ann:$scrypt$ln=4,r=8,p=1$Y$YQ", "line 2 has something else than base64"),
        ("bob:$scrypt$ln=4,r=8,p=1$YQ$YQ", "line 2 names a user for the second time"),
    ],
)
def test_lines_that_are_none(line: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_lines(f"bob:$scrypt$ln=4,r=8,p=1$YQ$YQ\n{line}")


def test_the_command_that_makes_a_line() -> None:
    command = [sys.executable, "-m", "trunkline.protocol_servers.smtp.passwords"]
    made = subprocess.run([*command, "ann"], input=SECRET + "\n", capture_output=True, text=True, check=True)
    assert read_lines(made.stdout)["ann"].fits(SECRET)
    assert SECRET not in made.stdout
    assert made.stderr == ""
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2
    told = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert told.stdout.startswith("usage: ")
    wrong = subprocess.run([*command, "a:b"], input="x\n", capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (2, "")


def test_a_file_is_read_again_when_it_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "users"
    path.write_text(make_line("ann", SECRET))
    users = UserFile(str(path))
    assert users("ann", SECRET)
    assert not users("ann", "wrong")
    assert not users("bob", SECRET)
    path.write_text(make_line("ann", SECRET) + "\n" + make_line("bob", "b"))
    assert users("bob", "b")
    path.write_text("nonsense")
    assert users("bob", "b")
    path.unlink()
    with caplog.at_level(logging.WARNING):
        assert users("bob", "b")
    assert "cannot be used, the users of before stay" in caplog.text
    assert SECRET not in caplog.text


def test_a_user_who_is_not_there_costs_as_much_as_one_who_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int, int]] = []
    scrypt = passwords._scrypt

    def counted(password: str, salt: bytes, cost: tuple[int, int, int], size: int) -> bytes:
        calls.append(cost)
        return scrypt(password, salt, (1, 1, 1), size)

    monkeypatch.setattr(passwords, "_scrypt", counted)
    monkeypatch.setattr(passwords, "_COST", passwords.NOBODY.cost)
    path = tmp_path / "users"
    path.write_text(make_line("ann", SECRET))
    users = UserFile(str(path))
    calls.clear()
    for user in ("ann", "nobody"):
        assert users(user, "wrong") is False
    assert calls == [passwords.NOBODY.cost] * 2


def _known(user: str, password: str) -> object:
    """What an `auth_callable` may do."""
    if user == "raises":
        raise RuntimeError(f"something is wrong with {password}")
    answers: dict[str, object] = {"yes": True, "named": "ann@example.org", "no": False, "odd": "a\r\nb", "one": 1}
    return answers.get(user)


async def _coroutine(user: str, password: str) -> bool:
    return True


@pytest.mark.parametrize(
    ("user", "expected"),
    [("yes", "yes"), ("named", "ann@example.org"), ("no", None), ("odd", None), ("one", None), ("other", None)],
)
def test_a_callable_of_the_user_s(user: str, expected: str | None) -> None:
    async def ask() -> str | None:
        asked = Logins(_known, asyncio.get_running_loop())
        try:
            return await asked.user(user, SECRET)
        finally:
            asked.close()

    assert asyncio.run(ask()) == expected


def test_a_callable_that_fails_is_logged_without_the_password(caplog: pytest.LogCaptureFixture) -> None:
    async def ask() -> str | None:
        return await Logins(_known, asyncio.get_running_loop()).user("raises", SECRET)

    with pytest.raises(LookupError):
        asyncio.run(ask())
    assert f"auth_callable failed: RuntimeError ({__file__}:" in caplog.text
    assert SECRET not in caplog.text


def test_a_callable_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(logins, "TIMEOUT", 0.05)

    async def ask() -> str | None:
        asked = Logins(lambda user, password: go_on.wait(PATIENCE), asyncio.get_running_loop())
        try:
            return await asked.user("ann", SECRET)
        finally:
            asked.close()

    with pytest.raises(TimeoutError):
        asyncio.run(ask())
    go_on.set()


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"auth_file": "/nowhere/users"}, "[smtp] auth_file /nowhere/users cannot be used: No such file or directory"),
        ({"auth_callable": "users"}, 'expected "module:function"'),
        ({"auth_callable": "no_such_module_:check"}, "ModuleNotFoundError"),
        ({"auth_callable": "os:no_such_function"}, "AttributeError"),
        ({"auth_callable": "os:sep"}, "is not a plain function"),
        ({"auth_callable": "asyncio:sleep"}, "is not a plain function"),
    ],
)
def test_settings_that_cannot_be_used(settings: dict[str, str], problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_check("[smtp]", settings.get("auth_file"), settings.get("auth_callable"))
    assert problem in str(caught.value)


def test_a_file_that_makes_no_sense_is_named_when_the_server_starts(house: Any, tmp_path: Path) -> None:
    home = house()
    (tmp_path / "users").write_text("ann:secret")
    settings = SmtpSettings(endpoints=["tcp:0"], hostname="x", auth_file=str(tmp_path / "users"))
    server = home.place.run(lambda: SmtpServer(home.layer, settings, reactor=home.place.reactor))
    with pytest.raises(UsageError, match=r"\[smtp\] auth_file .*users cannot be used: line 1 is not user:"):
        home.place.call(server.start())


def test_a_callable_is_found_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "people_of_this_test.py").write_text(
        "class People:\n    @staticmethod\n    def know(user, password):\n        return True\n"
    )
    monkeypatch.chdir(tmp_path)
    check = load_check("[smtp]", None, "people_of_this_test:People.know")
    assert check is not None
    assert check("a", "b") is True


# Real clients


@pytest.fixture
def users(tmp_path: Path) -> str:
    """A file in which Ann is."""
    path = tmp_path / "users"
    path.write_text(make_line("ann", SECRET) + "\n" + make_line("plain", "simple"))
    os.chmod(path, 0o600)
    return str(path)


def trust(certificate: Any) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate.certificate))


def test_smtplib_logs_in(house: Any, certificate: Any, users: str) -> None:
    home = house(certificate=str(certificate.certificate), key=str(certificate.key), auth_file=users)
    with home.smtp() as client:
        client.ehlo()
        assert not client.has_extn("auth")
        client.starttls(context=trust(certificate))
        client.ehlo()
        assert client.esmtp_features["auth"].strip() == "PLAIN LOGIN"
        client.login("plain", "simple")
        client.sendmail("a@b", ["c@d"], b"Subject: x\r\n\r\nhi")
    assert home.mails[0]["auth_user"] == "plain"
    assert home.server.stats["logins"] == 1
    assert "simple" not in repr(home.mails)


def test_guessing_passwords_is_slow_and_ends(house: Any, certificate: Any, users: str) -> None:
    home = house(certificate=str(certificate.certificate), key=str(certificate.key), auth_file=users)
    with home.smtp() as client:
        client.starttls(context=trust(certificate))
        client.ehlo()
        for _ in range(2):
            assert client.docmd("AUTH", "PLAIN AGFubgBndWVzcw==") == (535, b"5.7.8 Wrong name or password")
        assert client.noop()[0] == 250
    assert (home.server.stats["logins_refused"], home.mails) == (2, [])


def test_a_check_that_fails_is_a_temporary_failure(
    house: Any, certificate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(user: str, password: str) -> bool:
        raise ConnectionError("the directory is away")

    monkeypatch.setattr(logins, "load_check", lambda *args: broken)
    monkeypatch.setattr("trunkline.protocol_servers.smtp.server.load_check", lambda *args: broken)
    home = house(certificate=str(certificate.certificate), key=str(certificate.key))
    with home.smtp() as client:
        client.starttls(context=trust(certificate))
        client.ehlo()
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            client.login("ann", "x")
        assert caught.value.smtp_code == 454
    assert home.server.stats["logins_unanswered"] > 0


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("way", ["--tls", "--tls-on-connect"])
def test_swaks_logs_in(
    house: Any, certificate: Any, users: str, peer: Callable[[str], str], mechanism: str, way: str
) -> None:
    key, certificate = str(certificate.key), str(certificate.certificate)
    endpoint = "tcp:0" if way == "--tls" else f"ssl:0:privateKey={key}:certKey={certificate}"
    home = house(endpoints=[endpoint], certificate=certificate, key=key, auth_file=users)
    command = [peer("swaks"), "--server", "127.0.0.1", "--port", str(home.port), "--timeout", str(PATIENCE), way]
    command += [
        "--from",
        "a@b",
        "--to",
        "c@d",
        "--auth",
        mechanism,
        "--auth-user",
        "plain",
        "--auth-password",
        "simple",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert home.mails[0]["auth_user"] == "plain"


def test_nobody_logs_in_where_there_are_no_users(house: Any, certificate: Any) -> None:
    home = house(certificate=str(certificate.certificate), key=str(certificate.key))
    with home.smtp() as client:
        client.starttls(context=trust(certificate))
        client.ehlo()
        assert not client.has_extn("auth")
        assert client.docmd("AUTH", "PLAIN AGFubgBndWVzcw==")[0] == 502

"""Where a bus may be, and who is its broker."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from trunkline.layer import LayerError
from trunkline.layer.ipc import place
from trunkline.layer.ipc.place import Claim, check_path, is_trusted, peer_of


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("bus.sock", "absolute path"),
        ("", "absolute path"),
        ("/run/app/", "absolute path"),
        ("/" + "x" * 107, "at most 107 bytes"),
        ("/run/a\0b", "NUL"),
    ],
)
def test_paths_that_cannot_be(path: str, text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        check_path(path)
    assert "\n" not in str(caught.value)


def test_the_folder_is_made_for_its_user_alone(folder: str) -> None:
    claim = Claim(f"{folder}/a/b/bus.sock")
    claim.listen().close()
    assert stat.S_IMODE(os.stat(f"{folder}/a/b").st_mode) == 0o700
    assert stat.S_IMODE(os.stat(f"{folder}/a/b/bus.sock").st_mode) == 0o600
    claim.release()
    assert os.listdir(f"{folder}/a/b") == ["bus.sock.lock"]


def test_a_folder_that_others_may_enter_is_refused(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chmod(folder, 0o750)
    with pytest.raises(ValueError, match=r"others may enter .*0750"):
        Claim(f"{folder}/bus.sock")
    os.chmod(folder, 0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    if os.stat(folder).st_uid == 0:
        os.chown(folder, 54321, 54321)
    with pytest.raises(ValueError, match="belongs to somebody else"):
        Claim(f"{folder}/bus.sock")


def test_there_is_one_broker_and_a_left_socket_is_no_hindrance(folder: str) -> None:
    path = f"{folder}/bus.sock"
    first = Claim(path)
    listener = first.listen()
    with pytest.raises(LayerError, match="another bus is at"):
        Claim(path)
    first.note(41)
    listener.close()
    first._map.close()
    os.close(first._file)  # as if it was killed
    second = Claim(path)
    assert second.lost == 41
    assert second.total == 41
    second.listen().close()
    second.release(lost=2)
    third = Claim(path)
    assert (third.lost, third.total) == (0, 43)
    third.release()


def test_a_file_that_is_no_socket_is_left_alone(folder: str) -> None:
    path = Path(folder) / "bus.sock"
    path.write_text("precious")
    claim = Claim(str(path))
    with pytest.raises(ValueError, match="is no socket"):
        claim.listen()
    assert path.read_text() == "precious"


def test_a_lock_that_is_a_link_is_not_followed(folder: str) -> None:
    os.symlink(f"{folder}/elsewhere", f"{folder}/bus.sock.lock")
    with pytest.raises(OSError):
        Claim(f"{folder}/bus.sock")


def test_a_socket_that_cannot_be_bound_is_closed(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = Claim(f"{folder}/bus.sock")

    def full(path: str, mode: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "chmod", full)
    with pytest.raises(OSError, match="No space"):
        claim.listen()
    claim.release()


def test_who_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = socket.socketpair()
    with one, two:
        peer = peer_of(one)
        assert peer == (os.getpid(), os.geteuid())
        assert is_trusted(peer)
        assert is_trusted((1, 0)), "root may look into everything anyway"
        assert not is_trusted((1, os.geteuid() + 1))
        monkeypatch.setattr(place, "_SO_PEERCRED", None)
        assert peer_of(one) is None
        assert is_trusted(None), "the folder alone keeps others out there"

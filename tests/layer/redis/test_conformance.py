"""The Redis engine passes the suite of every engine, as the user that the documentation tells to make."""

from typing import Any

import pytest

from trunkline.layer.testing.conformance import LayerConformance
from trunkline.layer.testing.redis import RedisSubject

from .commands_used import documented


@pytest.fixture(autouse=True)
def place(redis_server: Any) -> None:
    redis_server.command("ACL", "SETUSER", "bus", "on", ">secret", "resetchannels", "~test.*", *documented())
    RedisSubject.url = redis_server.unix_url.replace("unix://", "unix://bus:secret@")


class TestRedis(LayerConformance):
    subject_class = RedisSubject

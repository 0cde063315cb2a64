"""The Redis engine passes the suite of every engine."""

from typing import Any

import pytest

from trunkline.layer.testing.conformance import LayerConformance
from trunkline.layer.testing.redis import RedisSubject


@pytest.fixture(autouse=True)
def place(redis_server: Any) -> None:
    RedisSubject.url = redis_server.unix_url


class TestRedis(LayerConformance):
    subject_class = RedisSubject

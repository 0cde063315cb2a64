"""The Redis engine does what the model does, whatever is done to it."""

from typing import Any

import pytest
from hypothesis import settings

from trunkline.layer.testing.machine import LayerMachine
from trunkline.layer.testing.redis import RedisSubject

from .aging import AgingSubject


class RedisMachine(LayerMachine):
    subject_class = AgingSubject
    unit = 4.0


@pytest.fixture(autouse=True)
def place(redis_server: Any) -> None:
    RedisSubject.url = redis_server.unix_url


TestRedisMachine = RedisMachine.TestCase
TestRedisMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

"""A Hypothesis state machine that does anything to a layer, in any order, and compares it with a model.

class MyMachine(LayerMachine):
    subject_class = MySubject

TestMyMachine = MyMachine.TestCase
"""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ..base import Layer
from ..delivery import Delivery
from ..errors import ChannelFull
from .model import WINDOW, Entry, Model
from .subject import Subject

# Few names, so that what is done meets what was done before.
CHANNELS = ["a", "x!"]
NAMES = ["a", "x!1", "x!2"]
EXPIRY = 100.0
CAPACITY = 4

channels = st.sampled_from(CHANNELS)
names = st.sampled_from(NAMES)
seldom = st.integers(0, 3)
keys = st.just("k")
# Time moves by halves, and nothing falls due or expires within an eighth of one: a real clock may be a little late.
expiries = st.sampled_from([1.25, 3.25, EXPIRY])
delays = st.sampled_from([0.0, 0.0, 1.125, 2.125])


class LayerMachine(RuleBasedStateMachine):
    """Sends, receives, puts back, joins, leaves, broadcasts, lets time pass; after each step counts must agree.

    Attributes:
        subject_class: The engine.
        unit: Seconds that one unit of the machine's time takes; an engine on a real clock makes it small.
    """

    subject_class: type[Subject]
    unit = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.subject = self.subject_class()
        self.model = Model(CAPACITY)
        self.held: list[tuple[Delivery, Entry]] = []
        self.number = 0
        self.values: dict[str, tuple[Any, int, float]] = {}

    @initialize()
    def make(self) -> None:
        self.layer: Layer = self.subject.make(expiry=EXPIRY * self.unit, capacity=CAPACITY)

    def teardown(self) -> None:
        self.subject.close()

    def body(self) -> dict[str, Any]:
        self.number += 1
        return {"n": self.number, "t": [b"x", 0.5, None]}

    # sending and receiving

    @rule(name=names, expiry=expiries, delay=delays, key=st.none() | keys, once=st.none() | st.just("o"))
    def send(self, name: str, expiry: float, delay: float, key: str | None, once: str | None) -> None:
        body = self.body()
        queue = name[: name.find("!") + 1] or name
        unit = self.unit
        expected = self.model.send(queue, frozenset([name]), body, expiry, delay, key, once)
        try:
            sent: bool | None = self.layer.send(
                name, body, expiry=expiry * unit, delay=delay * unit, key=key, once=once, window=WINDOW * unit
            )
        except ChannelFull:
            sent = None
        assert sent is expected

    @rule(wanted=st.sampled_from([["a"], ["x!"], ["a", "x!"]]), most=st.sampled_from([1, 2, 100]))
    def receive(self, wanted: list[str], most: int) -> None:
        for _ in range(most):
            channel, message = self.layer.receive(wanted)
            if channel is None:
                assert [self.model.take(queue) for queue in wanted] == [None] * len(wanted)
                return
            queue = channel[: channel.find("!") + 1] or channel
            assert queue in wanted
            entry = self.model.take(queue)
            assert entry is not None
            assert message == entry.body
            assert channel in entry.names
            if len(entry.names) > 1:
                self.model.channels[queue].append(entry._replace(names=entry.names - {channel}))

    @rule(limit=st.integers(1, 3), at_once=st.booleans())
    def hold(self, limit: int, at_once: bool) -> None:
        deliveries = self.layer.receive_batch(["a"], limit)
        entries = [entry for _ in range(limit) if (entry := self.model.take("a")) is not None]
        assert [delivery.message for delivery in deliveries] == [entry.body for entry in entries]
        self.held += zip(deliveries, entries, strict=True)
        if at_once:
            self.put_back()

    @rule()
    def put_back(self) -> None:
        held, self.held = self.held, []
        self.layer.put_back([delivery for delivery, _ in held])
        self.model.put_back("a", [entry for _, entry in held])

    @rule(channel=channels, key=keys)
    def cancel(self, channel: str, key: str) -> None:
        found = [entry for entry in self.model.waiting(channel) if entry.key == key and entry.due > self.model.now]
        for entry in found:
            self.model.channels[channel].remove(entry)
        assert self.layer.cancel(channel, key) is bool(found)

    @rule(channel=channels)
    def purge(self, channel: str) -> None:
        assert self.layer.purge(channel) == len(self.model.waiting(channel))
        self.model.channels[channel].clear()

    @rule(steps=st.integers(1, 5))
    def let_time_pass(self, steps: int) -> None:
        self.model.now += steps * 0.5
        self.subject.advance(steps * 0.5 * self.unit)

    # groups

    @rule(name=names)
    def join(self, name: str) -> None:
        self.layer.group_add("g", name)
        self.model.groups["g"].add(name)

    @rule(name=names)
    def leave(self, name: str) -> None:
        self.layer.group_discard("g", name)
        self.model.groups["g"].discard(name)

    @rule(excluded=st.sets(names, max_size=2))
    def broadcast(self, excluded: set[str]) -> None:
        body = self.body()
        self.layer.send_group("g", body, exclude=excluded)
        self.model.broadcast("g", body, EXPIRY, excluded)

    # state

    @rule(key=keys, ttl=st.sampled_from([1.25, 3.25]), version=st.sampled_from(["any", "absent", "present", "stale"]))
    def put_state(self, key: str, ttl: float, version: str) -> None:
        self.number += 1
        _, present, _ = self.value(key)
        wanted = {"any": None, "absent": 0, "present": present, "stale": 10**9}[version]
        given = self.layer.put_state(key, self.number, ttl * self.unit, wanted)
        assert bool(given) is (wanted is None or wanted == present)
        if given:
            assert given != present
            self.values[key] = (self.number, given, self.model.now + ttl)

    @rule(key=keys)
    def delete_state(self, key: str) -> None:
        assert self.layer.delete_state(key) is (self.value(key)[1] != 0)
        self.values.pop(key, None)

    @rule(key=st.just("c"))
    def count(self, key: str) -> None:
        value, _, until = self.value(key)
        assert self.layer.incr_state(key, 3.25 * self.unit) == (value or 0) + 1
        self.values[key] = ((value or 0) + 1, self.layer.get_state(key)[1], until if value else self.model.now + 3.25)

    @rule(chance=seldom)
    def flush(self, chance: int) -> None:
        if chance:
            return
        self.layer.flush()
        self.held.clear()
        self.values.clear()
        now, self.model = self.model.now, Model(CAPACITY)
        self.model.now = now

    def value(self, key: str) -> tuple[Any, int, float]:
        value, version, until = self.values.get(key, (None, 0, 0.0))
        return (value, version, until) if until > self.model.now else (None, 0, 0.0)

    # what holds after every step

    @invariant()
    def counts_agree(self) -> None:
        for channel in CHANNELS:
            assert self.layer.channel_statistics(channel)["messages_pending"] == len(self.model.waiting(channel))

    @invariant()
    def members_agree(self) -> None:
        for group, members in self.model.groups.items():
            assert set(self.layer.group_channels(group)) == members

    @invariant()
    def state_agrees(self) -> None:
        for key in self.values:
            assert self.layer.get_state(key) == self.value(key)[:2]

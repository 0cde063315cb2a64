"""Sending and receiving: order, fairness, capacity, expiry, putting back, looking in."""

import pytest

from ...base import Layer
from ...errors import ChannelFull, LayerUnavailable
from ..subject import Subject
from .base import Part, drain, numbers


class Queues(Part):
    def test_nothing_is_received_from_nothing(self, layer: Layer) -> None:
        assert layer.receive(["a"]) == (None, None)
        assert layer.receive_batch(["a", "b?c", "d!"], 10) == []

    def test_a_message_is_received_once_and_in_order(self, layer: Layer) -> None:
        for n in range(5):
            assert layer.send("a", {"n": n}) is True
        assert numbers(layer, "a") == [0, 1, 2, 3, 4]
        assert layer.receive(["a"]) == (None, None)

    def test_receive_takes_any_iterable_and_has_its_older_name(self, layer: Layer) -> None:
        for n in range(3):
            layer.send("a", {"n": n})
        assert layer.receive(iter(["b", "a"])) == ("a", {"n": 0})
        assert layer.receive_many({"a"}, block=False) == ("a", {"n": 1})
        assert layer.receive(channels=("a",), block=True) == ("a", {"n": 2})

    def test_an_inbox_gives_the_full_names(self, layer: Layer) -> None:
        layer.send("x!one", {"n": 1})
        layer.send("x!", {"n": 2})
        layer.send("x!two", {"n": 3})
        assert drain(layer, "x!") == [("x!one", {"n": 1}), ("x!", {"n": 2}), ("x!two", {"n": 3})]

    def test_channels_do_not_mix(self, layer: Layer) -> None:
        layer.send("a", {"n": 1})
        layer.send("a.b", {"n": 2})
        layer.send("a!", {"n": 3})
        layer.send("a?b", {"n": 4})
        assert numbers(layer, "a?b") == [4]
        assert numbers(layer, "a!") == [3]
        assert numbers(layer, "a") == [1]
        assert numbers(layer, "a.b") == [2]

    def test_a_batch_comes_from_one_channel_and_is_no_larger_than_asked(self, layer: Layer) -> None:
        for n in range(5):
            layer.send("a", {"n": n})
            layer.send("b", {"n": n})
        taken = layer.receive_batch(["a", "b"], 3)
        assert [delivery.message["n"] for delivery in taken] == [0, 1, 2]
        assert len({delivery.channel for delivery in taken}) == 1
        assert len(layer.receive_batch(["a"], 100)) == (2 if taken[0].channel == "a" else 5)
        with pytest.raises(ValueError, match="limit"):
            layer.receive_batch(["a"], 0)

    @pytest.mark.parametrize("count", [2, 3, 7])
    def test_each_busy_channel_is_served_within_as_many_calls(self, subject: Subject, count: int) -> None:
        layer = subject.make(capacity=100)
        channels = [f"c{index}" for index in range(count)]
        for channel in channels:
            for n in range(3 * count):
                layer.send(channel, {"n": n})
        for reader in (layer.reader(), layer):
            for _ in range(3):
                served = [reader.receive_batch(channels)[0].channel for _ in range(count)]
                assert sorted(served) == channels

    def test_rotation_survives_other_receives_between(self, layer: Layer) -> None:
        for n in range(4):
            for channel in ("a", "b", "c", "d"):
                layer.send(channel, {"n": n})
        first = []
        for _ in range(4):
            first += [delivery.channel for delivery in layer.receive_batch(["a", "b"])]
            layer.receive(["c", "d"])
        assert sorted(first) == ["a", "a", "b", "b"]

    def test_a_delivery_tells_about_itself(self, subject: Subject, layer: Layer) -> None:
        layer.send("x!one", {"n": 1})
        subject.advance(0.2)
        [delivery] = layer.receive_batch(["x!"])
        assert (delivery.channel, delivery.message, delivery.id, delivery.tries) == ("x!one", {"n": 1}, None, 1)
        assert delivery.queued is not None
        assert 0.15 <= delivery.queued < 60
        delivery.message["n"] = 2
        assert delivery.original() == {"n": 1}
        delivery.ack()
        delivery.nack(1)
        delivery.extend(1)
        assert "x!one" in repr(delivery)
        subject.advance(1.1)
        assert layer.receive(["x!"]) == (None, None)

    # capacity

    def test_a_full_channel_refuses(self, subject: Subject) -> None:
        layer = subject.make(capacity=3)
        for n in range(3):
            layer.send("a", {"n": n})
        with pytest.raises(ChannelFull, match="a is full"):
            layer.send("a", {"n": 3})
        with pytest.raises(layer.ChannelFull):
            layer.send("a", {"n": 3})
        layer.send("b", {"n": 0})
        assert layer.receive(["a"])[1] == {"n": 0}
        layer.send("a", {"n": 4})
        assert numbers(layer, "a") == [1, 2, 4]

    def test_capacities_by_default(self, layer: Layer) -> None:
        for channel, capacity in (("a", 1000), ("a?b", 16), ("a!b", 10_000)):
            for n in range(capacity):
                layer.send(channel, {"n": n})
            with pytest.raises(ChannelFull):
                layer.send(channel, {})

    def test_an_inbox_is_shared_by_its_connections(self, subject: Subject) -> None:
        layer = subject.make(capacity=2)
        layer.send("a!1", {})
        layer.send("a!2", {})
        with pytest.raises(ChannelFull):
            layer.send("a!3", {})

    def test_an_inbox_holds_at_most_64_mebibytes(self, layer: Layer) -> None:
        mebibyte = {"x": b"x" * (1024 * 1024 - 10)}
        for _ in range(64):
            layer.send("a!b", mebibyte)
        with pytest.raises(ChannelFull):
            layer.send("a!b", mebibyte)
        layer.receive(["a!"])
        layer.send("a!b", mebibyte)

    def test_a_stream_stays_little_ahead_of_its_inbox(self, layer: Layer) -> None:
        chunk = {"content": b"x" * 65536}
        for _ in range(4):
            assert layer.send("a!b", chunk, ahead=5 * 65536) is True
        with pytest.raises(ChannelFull):
            layer.send("a!b", chunk, ahead=5 * 65536)
        layer.send("a!b", chunk)
        assert [layer.receive(["a!"])[1] for _ in range(5)] == [chunk] * 5
        assert layer.send("a!b", chunk, ahead=5 * 65536) is True
        for _ in range(20):
            layer.send("plain", chunk, ahead=1)

    def test_capacity_patterns_come_first_and_the_first_match_wins(self, subject: Subject) -> None:
        layer = subject.make(
            capacity=4, channel_capacity={"special": 1, "spec*": 2, "http.body?*": 3, "in*!": 5, "*.end": 6}
        )
        for channel, capacity in (
            ("special", 1), ("spec", 2), ("specials", 2), ("other", 4), ("inbox!x", 5), ("http.body?1", 3),
            ("other?1", 16), ("spec?1", 16), ("other!x", 4), ("x.end", 6), ("x.end.x", 4), ("httpxbodyx", 4),
        ):  # fmt: skip
            for _ in range(capacity):
                layer.send(channel, {})
            with pytest.raises(ChannelFull):
                layer.send(channel, {})

    # expiry

    def test_an_expired_message_is_not_delivered(self, subject: Subject) -> None:
        layer = subject.make(expiry=0.3)
        layer.send("a", {"n": 1})
        subject.advance(0.35)
        assert layer.receive(["a"]) == (None, None)
        layer.send("a", {"n": 2})
        assert numbers(layer, "a") == [2]

    def test_expiry_of_a_send_overrides_the_default(self, subject: Subject, layer: Layer) -> None:
        layer.send("a", {"n": 1}, expiry=0.2)
        layer.send("a", {"n": 2})
        layer.send("a", {"n": 3}, expiry=0.2)
        subject.advance(0.3)
        assert numbers(layer, "a") == [2]

    def test_expiry_patterns(self, subject: Subject) -> None:
        layer = subject.make(channel_expiry={"brief*": 0.2})
        layer.send("brief.a", {"n": 1})
        layer.send("long", {"n": 1})
        subject.advance(0.3)
        assert numbers(layer, "brief.a") == []
        assert numbers(layer, "long") == [1]

    def test_expired_messages_do_not_hold_capacity_wherever_they_stand(self, subject: Subject) -> None:
        layer = subject.make(capacity=3)
        layer.send("a", {"n": 1})
        layer.send("a", {"n": 2}, expiry=0.2)
        layer.send("a", {"n": 3}, expiry=0.2)
        with pytest.raises(ChannelFull):
            layer.send("a", {"n": 0})
        subject.advance(0.3)
        assert layer.channel_statistics("a")["messages_pending"] == 1
        layer.send("a", {"n": 4})
        layer.send("a", {"n": 5})
        with pytest.raises(ChannelFull):
            layer.send("a", {"n": 0})
        assert numbers(layer, "a") == [1, 4, 5]

    # putting back

    def test_put_back_goes_to_the_head_in_the_old_order(self, subject: Subject) -> None:
        layer = subject.make(capacity=4)
        for n in range(4):
            layer.send("a", {"n": n})
        layer.send("b", {"n": 9})
        taken = layer.receive_batch(["a"], 3)
        other = layer.receive_batch(["b"])
        for n in range(4, 7):
            layer.send("a", {"n": n})
        layer.put_back(taken[1:] + other)
        with pytest.raises(ChannelFull):
            layer.send("a", {"n": 99})
        assert numbers(layer, "a") == [1, 2, 3, 4, 5, 6]
        assert numbers(layer, "b") == [9]

    def test_put_back_keeps_deadlines(self, subject: Subject, layer: Layer) -> None:
        layer.send("a", {"n": 1}, expiry=0.4)
        layer.send("a", {"n": 2})
        taken = layer.receive_batch(["a"], 2)
        subject.advance(0.2)
        layer.put_back(taken)
        [again] = layer.receive_batch(["a"])
        assert again.message == {"n": 1}
        assert again.queued is not None
        assert again.queued >= 0.15
        layer.put_back([again])
        subject.advance(0.3)
        assert numbers(layer, "a") == [2]

    def test_put_back_of_nothing_does_nothing(self, layer: Layer) -> None:
        layer.put_back([])
        assert layer.global_statistics()["messages_pending"] == 0

    # looking in, and clearing

    def test_peek_leaves_messages_there(self, subject: Subject, layer: Layer) -> None:
        layer.send("a", {"n": 0}, expiry=0.1)
        subject.advance(0.2)
        for n in range(1, 4):
            layer.send("a", {"n": n})
        assert layer.peek("a", 2) == [{"n": 1}, {"n": 2}]
        assert layer.peek("a") == [{"n": 1}, {"n": 2}, {"n": 3}]
        assert layer.peek("b") == []
        assert numbers(layer, "a") == [1, 2, 3]

    def test_purge_drops_messages_delayed_ones_too(self, subject: Subject, layer: Layer) -> None:
        layer.send("a", {"n": 1})
        layer.send("a", {"n": 2}, delay=0.1)
        layer.send("b", {"n": 3})
        assert layer.purge("a") == 2
        assert layer.purge("nothing") == 0
        subject.advance(0.2)
        assert numbers(layer, "a") == []
        assert numbers(layer, "b") == [3]

    def test_purge_of_an_inbox_keeps_its_memberships(self, layer: Layer) -> None:
        layer.group_add("g", "x!1")
        layer.send("x!1", {"n": 1})
        assert layer.purge("x!") == 1
        layer.send_group("g", {"n": 2})
        assert drain(layer, "x!") == [("x!1", {"n": 2})]

    def test_flush_leaves_nothing(self, subject: Subject, layer: Layer) -> None:
        layer.send("a", {"n": 1}, once="o")
        layer.send("a", {"n": 2}, delay=0.1)
        layer.group_add("g", "a")
        layer.put_state("k", 1, 60)
        layer.dead_letter("a", {}, reason="r")
        layer.flush()
        subject.advance(0.2)
        assert layer.receive(["a"]) == (None, None)
        assert layer.group_channels("g") == []
        assert layer.get_state("k") == (None, 0)
        assert layer.dead_letters() == []
        assert layer.global_statistics()["messages_pending"] == 0
        assert layer.send("a", {"n": 3}, once="o") is True
        assert numbers(layer, "a") == [3]

    def test_statistics_have_the_asgi_names(self, subject: Subject) -> None:
        layer = subject.make(capacity=2)
        for n in range(2):
            layer.send("a", {"n": n})
        with pytest.raises(ChannelFull):
            layer.send("a", {})
        layer.send("b", {})
        layer.receive(["b"])
        subject.advance(0.3)
        statistics = layer.channel_statistics("a")
        assert statistics["messages_count"] == 2
        assert statistics["messages_pending"] == 2
        assert statistics["channel_full_count"] == 1
        assert 0.25 <= statistics["messages_max_age"] < 60
        assert statistics["messages_count_per_second"] > 0
        assert statistics["channel_full_count_per_second"] > 0
        whole = layer.global_statistics()
        assert set(statistics) <= set(whole)
        layer.send("b?c", {})
        channels = layer.channels()
        assert set(channels) == {"a", "b"}
        assert channels["a"].keys() == statistics.keys()
        assert channels["a"]["messages_pending"] == 2
        assert whole["messages_count"] == 3
        assert whole["messages_pending"] == 2
        assert whole["channel_full_count"] == 1
        assert whole["messages_max_age"] >= 0.25
        assert layer.channel_statistics("c")["messages_count"] == 0

    def test_layers_of_one_place_share_messages(self, subject: Subject) -> None:
        one, two = subject.make(), subject.make()
        one.send("a", {"n": 1})
        one.group_add("g", "b")
        two.send_group("g", {"n": 2})
        assert two.receive(["a"]) == ("a", {"n": 1})
        assert one.receive(["b"]) == ("b", {"n": 2})
        one.close()
        two.send("a", {"n": 3})
        assert two.receive(["a"]) == ("a", {"n": 3})

    def test_a_closed_layer_says_so(self, subject: Subject) -> None:
        layer = subject.make()
        reader, batch = layer.reader(), layer.batch()
        batch.send("a", {})
        layer.close()
        layer.close()
        for refused in (
            lambda: layer.send("a", {}),
            lambda: layer.receive(["a"]),
            lambda: reader.receive_batch(["a"], 1, None),
            lambda: layer.get_state("k"),
            layer.listeners,
            layer.flush,
        ):
            with pytest.raises(LayerUnavailable, match="closed"):
                refused()
        [outcome] = batch.run()
        assert isinstance(outcome, LayerUnavailable)

    def test_a_layer_closes_at_the_end_of_with(self, subject: Subject) -> None:
        with subject.make() as layer:
            layer.send("a", {})
        with pytest.raises(LayerUnavailable):
            layer.send("a", {})

    # batches

    def test_a_batch_runs_in_order_and_tells_each_outcome(self, subject: Subject) -> None:
        layer = subject.make(capacity=2)
        layer.group_add("g", "b")
        batch = layer.batch()
        batch.send("a", {"n": 1}, once="o")
        batch.send("a", {"n": 2}, once="o")
        batch.send("a", {"n": 3})
        batch.send("a", {"n": 4})
        batch.put_state("k", "v", 60)
        batch.put_state("k", "w", 60, if_version=0)
        batch.send_group("g", {"n": 5}, exclude="c")
        batch.delete_state("nothing")
        assert len(batch) == 8
        assert layer.receive(["a", "b"]) == (None, None)
        layer.send("z", {})
        batch.ack(layer.receive_batch(["z"])[0])
        outcomes = batch.run()
        assert outcomes[:3] == [True, False, True]
        assert isinstance(outcomes[3], ChannelFull)
        assert outcomes[4] == layer.get_state("k")[1] > 0
        assert outcomes[5:] == [0, None, False, None]
        assert layer.get_state("k")[0] == "v"
        assert numbers(layer, "a") == [1, 3]
        assert numbers(layer, "b") == [5]
        assert batch.run() == []

    def test_what_can_never_be_right_is_refused_as_it_is_added(self, subject: Subject) -> None:
        layer = subject.make(max_size=100)
        batch = layer.batch()
        with pytest.raises(TypeError):
            batch.send("a b", {})
        with pytest.raises(TypeError):
            batch.put_state("k", object(), 10)
        with pytest.raises(layer.MessageTooLarge):
            batch.send("a", {"x": b"x" * 100})
        assert len(batch) == 0

"""The asynchronous side: a server instance's inbox, its memberships and its lease."""

from typing import Any

import pytest

from ...base import Layer
from ...errors import ChannelFull, LayerError, MessageTooLarge
from ..subject import Subject
from .base import Open, Part, drain, numbers


class Inboxes(Part):
    @pytest.mark.parametrize("name", ["a", "a?b", "a!b", "", "a b!", None])
    def test_an_inbox_is_named_with_a_mark_at_its_end(self, layer: Layer, open: Open, name: Any) -> None:
        with pytest.raises(TypeError):
            open(name)

    def test_messages_arrive_with_their_local_names(self, layer: Layer, open: Open) -> None:
        server = open("server.1!")
        layer.send("server.1!a", {"n": 1})
        layer.send("server.1!", {"n": 2})
        layer.send("server.2!a", {"n": 3})
        assert server.got() == [(None, ["a"], {"n": 1}), (None, [""], {"n": 2})]

    def test_what_was_sent_before_it_was_opened_arrives_too(self, layer: Layer, open: Open) -> None:
        layer.send("server.1!a", {"n": 1})
        layer.group_add("g", "server.1!a")
        layer.send_group("g", {"n": 2})
        assert open("server.1!").got() == [(None, ["a"], {"n": 1}), ("g", ["a"], {"n": 2})]

    def test_a_group_message_comes_once_with_all_its_members(self, layer: Layer, open: Open) -> None:
        one, two = open("server.1!"), open("server.2!")
        for channel in ("server.1!a", "server.1!b", "server.2!c", "plain"):
            layer.group_add("g", channel)
        layer.send_group("g", {"n": 1}, exclude="server.1!x")
        layer.send_group("g", {"n": 2}, exclude=["server.1!b", "server.2!c"])
        assert one.got() == [("g", ["a", "b"], {"n": 1}), ("g", ["a"], {"n": 2})]
        assert two.got() == [("g", ["c"], {"n": 1})]
        assert numbers(layer, "plain") == [1, 2]

    def test_adds_and_discards_keep_their_order_with_sends(self, layer: Layer, open: Open) -> None:
        server = open()
        for n in range(3):
            layer.group_add("g", f"server.1!{n}")
            layer.send_group("g", {"n": n})
        assert server.got() == [("g", [str(m) for m in range(n + 1)], {"n": n}) for n in range(3)]
        layer.group_discard("g", "server.1!0")
        layer.send_group("g", {"n": 3})
        layer.group_discard("g", "server.1!1")
        layer.group_discard("g", "server.1!2")
        layer.send_group("g", {"n": 4})
        assert server.got() == [("g", ["1", "2"], {"n": 3})]

    def test_sends_of_a_turn_leave_in_order_with_their_outcomes(self, subject: Subject, open: Open) -> None:
        layer = subject.make(capacity=2, max_size=1000)
        server = open("server.1!", on=layer)
        outcomes: list[Any] = []
        of_one: list[Any] = []  # there is no order among channels
        send = server.inbox.send
        send("a", {"n": 1}, once="o", then=of_one.append)
        send("a", {"n": 2}, once="o", then=of_one.append)
        send("a", {"n": 3})
        send("a", {"n": 4}, then=of_one.append)
        send("b", {"n": 5}, expiry=0.2, then=outcomes.append)
        send("c", {"n": 6}, delay=0.2, key="k", then=outcomes.append)
        send("c", {"x": b"x" * 1000}, then=outcomes.append)
        server.inbox.send_group("g", {"x": b"x" * 1000}, then=outcomes.append)
        server.inbox.send_group("g", {}, then=outcomes.append)
        assert outcomes == of_one == [], "never before the call returns"
        server.wait(lambda: len(outcomes) + len(of_one) == 8)
        assert of_one[:2] == [True, False]
        assert isinstance(of_one[2], ChannelFull)
        assert [type(outcome) for outcome in outcomes if isinstance(outcome, LayerError)] == [MessageTooLarge] * 2
        assert [outcome for outcome in outcomes if not isinstance(outcome, LayerError)].count(True) == 2
        assert outcomes.count(None) == 1
        assert numbers(layer, "a") == [1, 3]
        subject.advance(0.3)
        assert numbers(layer, "b") == []
        assert numbers(layer, "c") == [6]

    def test_a_message_altered_after_send_is_sent_as_it_was(self, layer: Layer, open: Open) -> None:
        server = open()
        message = {"n": 1}
        server.inbox.send("a", message)
        message["n"] = 2
        server.turn()
        assert numbers(layer, "a") == [1]

    def test_mistakes_of_the_program_raise(self, layer: Layer, open: Open) -> None:
        server = open()
        for refused in (
            lambda: server.inbox.send("a b", {}),
            lambda: server.inbox.send("a", {"x": object()}),
            lambda: server.inbox.send_group("a!", {}),
            lambda: server.inbox.new_channel("a"),
        ):
            with pytest.raises(TypeError):
                refused()
        assert server.inbox.new_channel("a?").startswith("a?")

    def test_a_drop_rate_loses_its_sends_too(self, subject: Subject, open: Open) -> None:
        layer = subject.make(drop_rate=1)
        server = open(on=layer)
        outcomes: list[Any] = []
        server.inbox.send("a", {"n": 1}, then=outcomes.append)
        server.inbox.send_group("g", {"n": 1}, then=outcomes.append)
        server.wait(lambda: len(outcomes) == 2)
        assert sorted(outcomes, key=str) == [None, True]
        assert numbers(layer, "a") == []

    def test_an_error_in_a_callback_stops_nothing(self, layer: Layer, open: Open) -> None:
        server = open()

        def broken(outcome: object) -> None:
            raise RuntimeError("in a callback")

        server.inbox.send("a", {"n": 1}, then=broken)
        server.inbox.send("a", {"n": 2})
        server.turn()
        assert numbers(layer, "a") == [1, 2]
        assert server.got() == []

    # memberships

    def test_a_connection_that_is_gone_leaves_its_groups(self, layer: Layer, open: Open) -> None:
        server = open()
        for group in ("g", "h"):
            layer.group_add(group, "server.1!a")
            layer.group_add(group, "server.1!b")
        server.got()
        server.inbox.gone("a")
        server.inbox.gone("never.seen")
        server.turn()
        assert layer.group_channels("g") == layer.group_channels("h") == ["server.1!b"]
        layer.send_group("g", {"n": 1})
        assert server.got() == [("g", ["b"], {"n": 1})]

    def test_an_add_on_its_way_is_undone(self, layer: Layer, open: Open) -> None:
        server = open()
        layer.group_add("g", "server.1!a")
        server.inbox.gone("a")
        layer.group_add("g", "server.1!a")
        assert server.got() == []
        server.turn()
        assert layer.group_channels("g") == []
        layer.group_add("g", "server.1!a")
        server.got()
        server.turn()
        assert layer.group_channels("g") == []

    def test_a_join_on_its_way_is_not_undone_where_names_come_back(self, layer: Layer, open: Open) -> None:
        server = open(lasting=True)
        layer.group_add("g", "server.1!a")
        server.got()
        server.inbox.gone("a")
        layer.group_add("g", "server.1!a")
        server.turn()
        assert layer.group_channels("g") == ["server.1!a"]
        layer.send_group("g", {"n": 1})
        assert server.got() == [("g", ["a"], {"n": 1})]

    def test_flush_makes_it_forget_its_members(self, layer: Layer, open: Open) -> None:
        server = open()
        layer.group_add("g", "server.1!a")
        server.got()
        layer.flush()
        layer.group_add("g", "server.1!b")
        layer.send_group("g", {"n": 1})
        assert server.got() == [("g", ["b"], {"n": 1})]

    # leases

    def test_an_inbox_has_one_holder(self, layer: Layer, open: Open) -> None:
        server = open("server.1!")
        with pytest.raises(LayerError, match="leased"):
            open("server.1!")
        layer.group_add("g", "server.1!a")
        server.close()
        open("server.1!")

    def test_a_clean_end_takes_the_memberships_with_it(self, layer: Layer, open: Open) -> None:
        server = open()
        layer.group_add("g", "server.1!a")
        layer.group_add("g", "other!a")
        server.inbox.send("a", {"n": 1})
        server.close()
        assert numbers(layer, "a") == [1], "what was waiting is sent first"
        assert layer.group_channels("g") == ["other!a"]
        layer.group_add("g", "server.1!b")
        assert layer.group_channels("g") == ["other!a"], "later adds are ignored"
        layer.send_group("g", {"n": 2})

    def test_a_killed_process_takes_them_when_its_lease_lapses(
        self, subject: Subject, layer: Layer, open: Open
    ) -> None:
        server = open()
        layer.group_add("g", "server.1!a")
        layer.group_add("g", "other!a")
        subject.lapse(server.inbox)
        server.kill()
        layer.send_group("g", {"n": 1})
        assert layer.group_channels("g") == ["other!a"]
        layer.group_add("g", "server.1!b")
        assert layer.group_channels("g") == ["other!a"]

    def test_a_lasting_inbox_keeps_members_and_messages(self, layer: Layer, open: Open) -> None:
        server = open(lasting=True)
        layer.group_add("g", "server.1!a", "info")
        server.got()
        server.close()
        layer.group_add("g", "server.1!b")
        layer.group_discard("g", "server.1!a")
        layer.group_add("h", "server.1!a")
        layer.send_group("g", {"n": 1})
        layer.send("server.1!c", {"n": 2})
        assert layer.group_members("g") == {"server.1!b": None}
        again = open(lasting=True)
        assert again.got() == [("g", ["b"], {"n": 1}), (None, ["c"], {"n": 2})]
        layer.send_group("h", {"n": 3})
        layer.group_add("h", "server.1!d")
        layer.send_group("h", {"n": 4})
        assert again.got() == [("h", ["a"], {"n": 3}), ("h", ["a", "d"], {"n": 4})]

    def test_a_lasting_inbox_is_taken_over_after_a_lapse(self, subject: Subject, layer: Layer, open: Open) -> None:
        server = open(lasting=True)
        layer.group_add("g", "server.1!a")
        server.got()
        layer.group_add("g", "server.1!b")
        layer.group_discard("g", "server.1!a")
        layer.send_group("g", {"n": 1})
        subject.lapse(server.inbox)
        server.kill()
        layer.send_group("g", {"n": 2})
        assert open(lasting=True).got() == [("g", ["b"], {"n": 1}), ("g", ["b"], {"n": 2})]

    def test_a_member_that_was_added_again_gets_what_was_sent_between(
        self, subject: Subject, layer: Layer, open: Open
    ) -> None:
        server = open(lasting=True)
        layer.group_add("g", "server.1!a", 1)
        server.got()
        layer.send("server.1!c", {"n": 0})  # whoever waits may have taken the first that came when it was killed
        subject.lapse(server.inbox)
        server.kill()
        layer.send_group("g", {"n": 1})
        layer.group_add("g", "server.1!a", 2)
        layer.group_discard("g", "server.1!b")
        layer.group_add("g", "server.1!b")
        layer.send_group("g", {"n": 2})
        again = open(lasting=True)
        items = [item for item in again.got() if item[0] == "g"]
        assert items == [("g", ["a"], {"n": 1}), ("g", ["a", "b"], {"n": 2})]
        assert layer.group_members("g") == {"server.1!a": 2, "server.1!b": None}
        again.inbox.gone("a")
        again.turn()
        assert layer.group_channels("g") == ["server.1!b"]

    def test_members_of_a_lasting_inbox_expire_that_nobody_holds(self, subject: Subject, open: Open) -> None:
        layer = subject.make(group_expiry=0.4)
        server = open(lasting=True, on=layer)
        layer.group_add("g", "server.1!a")
        subject.advance(0.5)
        assert layer.group_channels("g") == ["server.1!a"], "a leased inbox keeps them"
        server.close()
        subject.advance(0.5)
        assert layer.group_channels("g") == []

    def test_a_plain_receive_reads_a_lasting_inbox_that_nobody_holds(self, layer: Layer, open: Open) -> None:
        server = open(lasting=True)
        layer.group_add("g", "server.1!a")
        server.close()
        layer.send_group("g", {"n": 1})
        assert drain(layer, "server.1!") == [("server.1!a", {"n": 1})]

    # listeners

    def test_announcements(self, layer: Layer, open: Open) -> None:
        server = open()
        assert layer.listeners() == {}
        assert dict(server.inbox.listening()) == {}
        layer.announce("worker.1", {"channels": {"http.request": False, "websocket.receive": True}, "pid": 7})
        server.inbox.announce({"channels": {}, "connections": 3})
        server.turn()
        assert layer.listeners() == {
            "worker.1": {"channels": {"http.request": False, "websocket.receive": True}, "pid": 7},
            "server.1!": {"channels": {}, "connections": 3},
        }
        server.wait(lambda: dict(server.inbox.listening()) == {"http.request": False, "websocket.receive": True})
        layer.announce("worker.1", None)
        assert list(layer.listeners()) == ["server.1!"]
        no_infos: list[Any] = [[], {"channels": ["a"]}, 1]
        for bad in no_infos:
            with pytest.raises(TypeError):
                layer.announce("worker.1", bad)

    def test_who_does_not_renew_is_gone_and_its_channels_later(
        self, subject: Subject, layer: Layer, open: Open
    ) -> None:
        if not subject.moves_time:
            pytest.skip("needs a clock that the test moves")
        server = open()
        layer.announce("worker.1", {"channels": {"a": False}})
        subject.advance(14)
        layer.announce("worker.2", {"channels": {"b": True}})
        assert sorted(layer.listeners()) == ["worker.1", "worker.2"]
        subject.advance(2)
        assert sorted(layer.listeners()) == ["worker.2"]
        server.wait(lambda: dict(server.inbox.listening()) == {"a": False, "b": True})
        subject.advance(45)
        assert dict(server.inbox.listening()) == {"b": True}
        layer.announce("worker.3", {"channels": {"b": False}})
        server.wait(lambda: dict(server.inbox.listening()) == {"b": False})
        subject.advance(61)
        assert dict(server.inbox.listening()) == {}

    # time and turns

    def test_a_delayed_message_reaches_an_idle_inbox(self, subject: Subject, layer: Layer, open: Open) -> None:
        server = open()
        layer.send("server.1!b", {"n": 2}, delay=0.3)
        layer.send("server.1!a", {"n": 1}, delay=0.1)
        assert server.got() == []
        subject.advance(0.1)
        server.wait(lambda: len(server.items) == 1)
        subject.advance(0.2)
        server.wait(lambda: len(server.items) == 2)
        assert [item.message["n"] for item in server.items] == [1, 2]

    def test_a_burst_arrives_in_order(self, layer: Layer, open: Open) -> None:
        server = open()
        for n in range(1000):
            layer.send(f"server.1!{n}", {"n": n})
        assert server.got() == [(None, [str(n)], {"n": n}) for n in range(1000)]

    def test_a_closed_inbox_is_quiet(self, layer: Layer, open: Open) -> None:
        server = open()
        server.loop.run_until_complete(server.inbox.close())
        server.loop.run_until_complete(server.inbox.close())
        layer.send("server.1!a", {"n": 1})
        other = open("server.2!")
        other.got()
        assert server.items == []

"""What a reader tells of a flush that an engine did not come to the end of."""

from typing import Any

import pytest

from trunkline.layer import Delivery, LayerUnavailable, MemoryLayer, Reader


class Broken(Reader):
    """An engine's reader that breaks under a flush."""

    def __init__(self, layer: MemoryLayer, error: BaseException) -> None:
        super().__init__()
        self._layer = layer
        self._error = error

    def wake(self) -> None: ...

    def _take(self, *arguments: Any) -> list[Delivery]:
        return []

    def _flush_and_take(self, *arguments: Any) -> list[Delivery]:
        raise self._error


def flush(error: BaseException, kind: type[BaseException]) -> list[Any]:
    told: list[Any] = []
    with MemoryLayer() as layer:
        batch = layer.batch()
        batch.send("a", {})
        batch.put_state("k", 1, 60)
        batch.put_state("k", 1, 60, if_version=0)
        batch.delete_state("k")
        batch.send_group("g", {})
        with pytest.raises(kind):
            Broken(layer, error).receive_batch(["a"], flush=batch, flushed=told.append)
        assert Broken(layer, error).receive_batch(["a"]) == []
    [outcomes] = told
    return list(outcomes)


@pytest.mark.parametrize("uncertain", [False, True])
def test_what_may_be_repeated_is_certain(uncertain: bool) -> None:
    error = LayerUnavailable("lost", uncertain=uncertain)
    outcomes = flush(error, LayerUnavailable)
    assert [outcome.uncertain for outcome in outcomes] == [uncertain, False, uncertain, False, uncertain]
    assert {str(outcome) for outcome in outcomes} == {"lost"}


def test_nothing_is_taken_where_a_flush_found_no_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    away, told = LayerUnavailable("away"), list[Any]()
    with MemoryLayer() as layer:
        layer.send("a", {"n": 1})
        batch = layer.batch()
        batch.send("a", {"n": 2})
        batch.send("a", {"n": 3})
        monkeypatch.setattr(layer, "_run", lambda calls: [True, away])
        with pytest.raises(LayerUnavailable):
            layer.reader().receive_batch(["a"], 10, flush=batch, flushed=told.extend)
        assert told == [True, away]
        assert layer.peek("a") == [{"n": 1}]


def test_an_engine_that_breaks_breaks_every_operation() -> None:
    error = ZeroDivisionError()
    assert flush(error, ZeroDivisionError) == [error] * 5

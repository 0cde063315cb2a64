"""Waits between attempts to connect."""

from trunkline.layer.backoff import Backoff


def test_ceilings_double_up_to_the_longest_and_begin_again() -> None:
    backoff = Backoff(draw=lambda: 1.0)
    assert [backoff.next() for _ in range(8)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    backoff.reset()
    assert backoff.next() == 0.05


def test_full_jitter() -> None:
    """Anything from nothing to the ceiling, so that clients spread."""
    backoff = Backoff(longest=0.05)
    waits = [backoff.next() for _ in range(200)]
    assert all(0 <= wait <= 0.05 for wait in waits)
    assert min(waits) < 0.02 < 0.03 < max(waits)

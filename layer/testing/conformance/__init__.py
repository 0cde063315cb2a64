"""The suite that every layer engine passes.

    class TestMyLayer(LayerConformance):
        subject_class = MySubject

It holds for any engine and knows none. Times are short, so that an engine on a real clock can be tested too.
"""

import pytest

for _part in ("bodies", "delays", "flushes", "groups", "inboxes", "messages", "queues", "state", "threads"):
    pytest.register_assert_rewrite(f"{__name__}.{_part}")

from .suite import LayerConformance  # noqa: E402

__all__ = ["LayerConformance"]

"""The suite that every layer engine passes.

    class TestMyLayer(LayerConformance):
        subject_class = MySubject

It holds for any engine and knows none. Times are short, so that an engine on a real clock can be tested too.
"""

import pytest

for _module in ("bodies", "delays", "groups", "inboxes", "messages", "queues", "state", "threads"):
    pytest.register_assert_rewrite(f"{__name__}.{_module}")

from .bodies import Bodies  # noqa: E402
from .delays import Delays  # noqa: E402
from .groups import Groups  # noqa: E402
from .inboxes import Inboxes  # noqa: E402
from .messages import Messages  # noqa: E402
from .queues import Queues  # noqa: E402
from .state import State  # noqa: E402
from .threads import Threads  # noqa: E402

__all__ = ["LayerConformance"]


class LayerConformance(Messages, Queues, Delays, Bodies, Groups, Inboxes, State, Threads):
    """All parts of the suite. Subclass it and set `subject_class`."""

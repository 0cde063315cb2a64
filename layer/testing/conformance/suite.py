"""The whole suite, of its parts."""

from .blobs import Blobs
from .bodies import Bodies
from .delays import Delays
from .durable import Durable
from .flushes import Flushes
from .groups import Groups
from .inboxes import Inboxes
from .messages import Messages
from .queues import Queues
from .runs import Runs
from .state import State
from .threads import Threads


class LayerConformance(
    Messages, Queues, Runs, Flushes, Delays, Durable, Blobs, Bodies, Groups, Inboxes, State, Threads
):
    """All parts of the suite. Subclass it and set `subject_class`."""

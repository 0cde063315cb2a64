"""What stands in a queue.

An element is a plain tuple, since millions of them are made: `(deadline, queued, kind, name, body, extra)`.

    deadline   when it expires, in seconds of the store's clock
    queued     when it was sent, or became due
    body       the packed message, or None

    kind      name        extra
    MESSAGE   local part  None
    GROUP     the group   (sequence, excluded local parts or None)       one message for all members of the inbox
    PART      the group   local parts still to be served                 what is left of a GROUP after some were
    ADD       local part  (group, sequence)                              a membership note; body: packed info
    DISCARD   local part  (group, sequence)
    RELOAD    ""          None                                           the memberships have to be loaded anew
    CREDIT    local part  (channel, how many chunks were taken)

Only MESSAGE, GROUP and PART count against capacity; all above them are notes from the layer to an inbox' holder.
"""

from typing import Any

MESSAGE, GROUP, PART, ADD, DISCARD, RELOAD, CREDIT = range(7)

Element = tuple[float, float, int, str, Any, Any]

"""Who handles what. The first route that matches takes the message."""

from trunkline import include, route

from . import archive, consumers

mail = [  # what stands behind "garden"
    route("email.receive", consumers.bounced, address=r"^-bounces\+(?P<key>\w+)@"),
    # No machine is ever answered, and what the list sent itself goes nowhere a second time: there is no loop.
    route("email.receive", consumers.ignore, headers__list_id=r".*<garden\.lists\.example\.com>"),
    route("email.receive", consumers.ignore, auto_submitted=True),
    route("email.receive", consumers.subscribe, address=r"^-subscribe@"),
    route("email.receive", consumers.confirm, address=r"^-confirm\+(?P<token>\w+)@"),
    route("email.receive", consumers.leave, address=r"^-unsubscribe\+(?P<key>\w+)@"),
    route("email.receive", consumers.ask_to_leave, address=r"^-unsubscribe@"),
    route("email.receive", consumers.post, address=r"^@"),
]

routing = [
    include(mail, address=r"^garden(?=(-(subscribe|unsubscribe|confirm|bounces)\b.*)?@lists\.example\.com$)"),
    route("list.distribute", consumers.distribute),
    route("email.failed", consumers.failed, permanent=True, id=r"^garden-\d+-(?P<key>\w+)$"),
    route("http.request", archive.latest, method=r"^(GET|HEAD)$", path=r"^/$"),
    route("http.request", archive.post, method=r"^(GET|HEAD)$", path=r"^/posts/(?P<number>\d{1,9})$"),
    route("http.request", archive.ask_to_leave, method=r"^(GET|HEAD)$", path=r"^/leave/(?P<key>\w+)$"),
    route("http.request", archive.leave, method=r"^POST$", path=r"^/leave/(?P<key>\w+)$"),
]

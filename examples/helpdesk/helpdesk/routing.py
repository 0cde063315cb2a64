"""Who handles what. The first route that matches takes the message."""

from trunkline import route

from . import consumers

routing = [
    route("http.request", consumers.page, method=r"^(GET|HEAD)$", path=r"^/$"),
    route("websocket.connect", consumers.enter, path=r"^/room$"),
    route("websocket.receive", consumers.say, path=r"^/room$"),
    route("email.receive", consumers.ticket_mail, address=r"^support\+(?P<ticket>\d+)@example\.com$"),
    route("email.receive", consumers.broken, address=r"^broken@example\.com$"),
]

"""What may travel: the message formats, their documentation, checks, JSON form and answers.

A format is a TypedDict whose annotations are its documentation, and a few facts beside it; `typed.py` says how to
write one. Formats of one's own become known by `register`:

    from typing import Annotated, NotRequired, TypedDict
    from trunkline.message_formats import Address, Default, Format, Range, record_of, register

    class Reading(TypedDict):
        'A sensor sent a reading.'

        reply_channel: Annotated[str, "The sensor."]
        celsius: Annotated[float, "The temperature."]
        battery: NotRequired[Annotated[int, Range(0, 100), Default(100), "The charge, in percent."]]
        client: Annotated[Address, "The sensor's host and port."]

    class Order(TypedDict):
        'What a sensor is told.'

        pause: Annotated[float, "Seconds until its next reading."]

    register(Format("sensor.reading", record_of(Reading), reply=Format("sensor reply", record_of(Order))))
"""

from . import chat, delay, email, http, irc_client, slack, udp, websocket
from .format import Composed, Format, FormatError, Message
from .json_form import from_json, to_json
from .kinds import Characters, Field, Most, Range
from .reference import describe, markdown, summary
from .registry import formats, get, names, register, validate
from .rules import Instead, OnlyWith, at_least_one, at_most_one, exactly_one
from .schema import asyncapi, json_schema
from .typed import Default, record_of
from .vocabulary import ONE_LINE, TOKEN, Address, Headers, Line

__all__ = [
    "ONE_LINE",
    "TOKEN",
    "Address",
    "Characters",
    "Composed",
    "Default",
    "Field",
    "Format",
    "FormatError",
    "Headers",
    "Instead",
    "Line",
    "Message",
    "Most",
    "OnlyWith",
    "Range",
    "asyncapi",
    "at_least_one",
    "at_most_one",
    "describe",
    "exactly_one",
    "formats",
    "from_json",
    "get",
    "json_schema",
    "markdown",
    "names",
    "record_of",
    "register",
    "summary",
    "to_json",
    "validate",
]

for _protocol in (http, websocket, chat, irc_client, slack, email, udp, delay):
    for _format in _protocol.FORMATS:
        register(_format)

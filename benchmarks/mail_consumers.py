"""The worker of mail.py: it takes every mail and does nothing with it."""

from trunkline import Message, route


def consume(message: Message) -> None:
    pass


routing = [route("email.receive", consume)]

"""The worker of irc_lines.py: it writes the lag of each line, in seconds, to the file that BENCHMARK_LAGS names."""

import os
import time

from trunkline import Message, route

_lags = os.open(os.environ["BENCHMARK_LAGS"], os.O_WRONLY | os.O_APPEND)


def hear(message: Message) -> None:
    sent = float(message["text"].partition(" ")[0])
    os.write(_lags, b"%.6f\n" % (time.monotonic() - sent))


routing = [route("chat.message", hear)]

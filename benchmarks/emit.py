"""Send a line to the room by our layer for each line on standard input: python emit.py URL TEXT.

Prints the time on the monotonic clock, in seconds, right before each is sent.
"""

import sys
import time

from trunkline.layer import open_layer

with open_layer(sys.argv[1]) as layer:
    for _ in sys.stdin:
        print(time.monotonic(), flush=True)
        layer.send_group("room", {"text": sys.argv[2]})

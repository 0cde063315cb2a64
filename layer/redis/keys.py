"""The names of keys. `scripts/_queue.lua`, `_group.lua` and the scripts themselves say what stands behind them."""


class Keys:
    """Makes keys under one prefix. The part in braces decides the slot in a cluster.

    Args:
        prefix: What all keys begin with, such as "trunkline".
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = (prefix + ":").encode()
        # What a pattern of SCAN has to look like, to mean just this prefix
        self.pattern = "".join("\\" + sign if sign in "*?[]\\^-" else sign for sign in prefix + ":").encode()
        for name in (
            "due",
            "wake",
            "leases",
            "listeners",
            "alive",
            "heard",
            "dead",
            "letters",
            "totals",
            "later",
            "durable",
            "loose",
            "tied",
        ):
            setattr(self, name, self.prefix + name.encode())
        # What a script declares that touches none it knows: without one any node of a cluster would run it.
        self.anchor = (self.wake,) if "{" in prefix else ()

    due: bytes
    wake: bytes
    leases: bytes
    listeners: bytes
    alive: bytes
    heard: bytes
    dead: bytes
    letters: bytes
    totals: bytes
    later: bytes
    durable: bytes
    loose: bytes
    tied: bytes

    def list(self, queue: str) -> bytes:
        """Return the key of a queue's elements."""
        return b"%bq:{%b}" % (self.prefix, queue.encode())

    def books(self, queue: str) -> bytes:
        """Return the key of a queue's counts, and an inbox' lease."""
        return b"%bm:{%b}" % (self.prefix, queue.encode())

    def delayed(self, queue: str) -> tuple[bytes, bytes]:
        """Return the keys of a queue's delayed messages: when they are due, and what they are."""
        name = queue.encode()
        return b"%bz:{%b}" % (self.prefix, name), b"%bd:{%b}" % (self.prefix, name)

    def durables(self, queue: str) -> tuple[bytes, bytes, bytes, bytes]:
        """Return the keys of a durable queue: its stream, what is taken, what comes again, how often it was lost."""
        name = queue.encode()
        stream, taken, again, lapses = (b"%b%b:{%b}" % (self.prefix, kind, name) for kind in (b"x", b"v", b"r", b"l"))
        return stream, taken, again, lapses

    def durable_delayed(self, queue: str) -> tuple[bytes, bytes]:
        """Return the keys of a durable queue's delayed messages, as `delayed` does of a plain one's."""
        name = queue.encode()
        return b"%by:{%b}" % (self.prefix, name), b"%be:{%b}" % (self.prefix, name)

    def ties(self, queue: str) -> bytes:
        """Return the key that tells which blobs the messages of a durable queue hold."""
        return b"%bt:{%b}" % (self.prefix, queue.encode())

    def blob(self, key: str) -> bytes:
        """Return the key of a blob."""
        return b"%bb:{%b}" % (self.prefix, key.encode())

    def mark(self, queue: str, once: str) -> bytes:
        """Return the key that tells that something was sent to a queue."""
        return b"%bo:{%b}:%b" % (self.prefix, queue.encode(), once.encode("utf-8", "surrogatepass"))

    def run(self, queue: str, mark: str) -> bytes:
        """Return the key that tells that what a run has put into a queue so far was taken."""
        return b"%bh:{%b}:%b" % (self.prefix, queue.encode(), mark.encode())

    def state(self, key: str) -> bytes:
        """Return the key of a value."""
        return b"%bs:{%b}" % (self.prefix, key.encode("utf-8", "surrogatepass"))

    def queue(self, key: bytes) -> str:
        """Return the queue behind the key of its elements; "" for any other key."""
        begin = len(self.prefix) + 3
        return key[begin:-1].decode() if key[begin - 3 : begin] == b"q:{" else ""

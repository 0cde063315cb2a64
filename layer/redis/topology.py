"""Where the servers of a layer are, by its URL: one, several that share the channels among them, or a cluster.

A *place* is where one connection can wait for all queues: a server, and what its keys begin with.
"""

from typing import Any, NamedTuple

from .address import PORT, SHAPE, Address, Where, read_database, read_host, read_tls, read_user
from .cluster import PLACES, Cluster, Slot, slot_of, tag_for
from .sentinel import read_where

_SPREADING = ("redis", "rediss")
_CLUSTERS = ("redis+cluster", "rediss+cluster")


class Topology(NamedTuple):
    """All places of a layer, in an order that all who use it must agree on.

    Attributes:
        text: The URL for people, without user and password.
        places: Where each is, and what its keys begin with.
    """

    text: str
    places: tuple[tuple[Where, str], ...]


def has_several(url: str) -> bool:
    """Tell whether a URL leads to several places."""
    scheme, _, place = url.partition("://")
    return scheme in _CLUSTERS or (scheme in _SPREADING and "," in _servers(place))


def read_topology(url: str, prefix: str, **options: Any) -> Topology:
    """Read where Redis is.

    Args:
        url: Without options.
        prefix: What all keys begin with.
        options: Those of `read_where`.

    Raises:
        ValueError: Something is wrong; one line that says what. It never shows user or password.
    """
    scheme, _, place = url.partition("://")
    if not has_several(url):
        where = read_where(scheme, place, **options)
        return Topology(where.text, ((where, prefix),))
    if scheme in _CLUSTERS:
        return _read_cluster(scheme, place, prefix, **options)
    return _read_shards(scheme, place, prefix, options)


def _read_shards(scheme: str, place: str, prefix: str, options: dict[str, Any]) -> Topology:
    front, slash, rest = place.partition("/")
    userinfo, at, _ = front.rpartition("@")
    read_user(scheme, userinfo, rest)
    servers = _servers(place).split(",")
    named = [read_host(scheme, server, PORT) for server in servers]
    twice = next((servers[n] for n, host in enumerate(named) if host in named[:n]), None)
    if twice is not None:
        raise ValueError(f"{scheme}://{','.join(servers)}: {twice} stands twice; expected {SHAPE['shards']}")
    found = [read_where(scheme, f"{userinfo}{at}{server}{slash}{rest}", **options) for server in servers]
    hosts, _, database = zip(*(where.text.partition("://")[2].rpartition("/") for where in found), strict=True)
    return Topology(f"{scheme}://{','.join(hosts)}/{database[0]}", tuple((where, prefix) for where in found))


def _read_cluster(
    scheme: str,
    place: str,
    prefix: str,
    *,
    db: int | str | None = None,
    tls_ca: str | None = None,
    tls_certificate: str | None = None,
    tls_key: str | None = None,
    sentinel_user: str | None = None,
    sentinel_password: str | None = None,
) -> Topology:
    front, slash, rest = place.partition("/")
    userinfo = front.rpartition("@")[0]
    username, password = read_user(scheme, userinfo, rest)
    servers = _servers(place)
    if sentinel_user is not None or sentinel_password is not None:
        raise ValueError(f"{scheme}://{servers}: sentinel_user and sentinel_password are for redis+sentinel://")
    if "/" in rest or read_database(f"{scheme}://{servers}", rest, db):
        raise ValueError(
            f"{scheme}://{servers}{slash}{rest}: a cluster has only the database 0; expected {SHAPE[scheme]}"
        )
    tls = read_tls(scheme, tls_ca, tls_certificate, tls_key)
    cluster = Cluster(
        [
            Address(host, port, None, 0, username, password, tls, cluster=True)
            for host, port in (read_host(scheme, server, PORT) for server in servers.split(","))
        ]
    )
    tags = map(tag_for, range(PLACES))
    return Topology(cluster.text, tuple((Slot(cluster, slot_of(tag)), f"{prefix}:{{{tag}}}") for tag in tags))


def _servers(place: str) -> str:
    return place.partition("/")[0].rpartition("@")[2]

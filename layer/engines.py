"""Which engine stands behind which URL."""

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from .base import Layer
from .options import from_url, shown

Opener = Callable[..., Layer]

_engines: dict[str, str | Opener] = {
    "memory": ".memory:open_memory",
    "ipc": ".ipc.layer:open_ipc",
    "redis": ".redis.layer:open_redis",
    "rediss": ".redis.layer:open_rediss",
    "unix": ".redis.layer:open_unix",
    "redis+sentinel": ".redis.layer:open_sentinel",
    "rediss+sentinel": ".redis.layer:open_sentinel_tls",
    "redis+cluster": ".redis.layer:open_cluster",
    "rediss+cluster": ".redis.layer:open_cluster_tls",
}
_extras = {"hiredis": "redis"}


def register_engine(scheme: str, opener: str | Opener) -> None:
    """Make `open_layer` know an engine, in this process.

    A package tells of its own by an entry point of the group `trunkline.engines`: `scheme = module:name`.

    Args:
        scheme: What stands before `://`.
        opener: Called with the text between `://` and `?`, and the options as keywords; or "module:name" of that,
            imported when it is used.
    """
    _engines[scheme] = opener


def open_layer(url: str, **options: Any) -> Layer:
    """Open a channel layer.

    Args:
        url: `memory://` for a new one, `memory://name` for one that is shared in this process; options may follow:
            `?expiry=1&capacity=5`.
        options: The same options as keywords; they go before those in the URL.

    Raises:
        ValueError: The URL cannot be read, no engine has this scheme, or an option is unknown or wrong; one line.
        LayerUnavailable: The layer cannot be reached.
    """
    scheme, place, given = from_url(url)
    opener = _engines.get(scheme) or _installed(scheme)
    if opener is None:
        known = ", ".join(f"{name}://" for name in sorted(_engines))
        raise ValueError(f"{shown(url)!r}: no layer engine is called {scheme!r}; there is {known}")
    if isinstance(opener, str):
        opener = _import(scheme, opener)
    layer: Layer = opener(place, **(given | options))
    return layer


def _installed(scheme: str) -> str | None:
    """Return the opener that an installed package names for a scheme."""
    return next((point.value for point in entry_points(group="trunkline.engines", name=scheme)), None)


def _import(scheme: str, opener: str) -> Opener:
    module, _, name = opener.partition(":")
    try:
        found: Opener = getattr(import_module(module, __package__), name)
    except ModuleNotFoundError as error:
        extra = _extras.get(error.name or "")
        if extra is None:
            raise
        raise ValueError(f"{scheme}:// needs trunkline[{extra}]: pip install 'trunkline[{extra}]'") from None
    return found

"""One typed configuration from flags, environment and file, in this order.

    trunkline run --grace 5            a flag
    TRUNKLINE_WORKER_GRACE=5           the environment: TRUNKLINE_<TABLE>_<KEY>, lists by comma
    [worker]                           trunkline.toml
    grace = 5

Any text may be a secret kept elsewhere: `{ env = "NAME" }` or `{ file = "path" }`, the path relative to the
configuration's folder. Nothing is ignored: what is unknown or misspelt is an error that names its place.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .addresses import is_loopback
from .errors import ExitError, SettingsError
from .secret import Secret
from .tables import Given, TableReader, environment_names, inner, nearest, place, wrapped

DEFAULT_FILE = "trunkline.toml"

OPERATIONS = "operations"
"""The table of what a command tells of itself."""

# Kubernetes and Docker put such variables beside every service named "trunkline" or "trunkline-http".
_SERVICE_LINK = re.compile(r"_SERVICE_HOST$|_SERVICE_PORT(_|$)|_PORT_\d+_(TCP|UDP)(_|$)")


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """The table `[worker]`: what takes messages and runs consumers.

    Attributes:
        processes: Worker processes.
        threads: Threads a worker process; by default 4 in `trunkline run`, otherwise 1.
        prefetch: Messages taken at once; by default as many as fit the worker's own speed.
        max_messages: Messages after which a worker process ends, and with several processes is replaced; by default
            it does not end.
        grace: Seconds that consumers may still need when the process stops.
        stream_timeout: Seconds without a further chunk after which reading a body fails.
    """

    processes: int = field(default=1, metadata={"min": 1})
    threads: int | None = field(default=None, metadata={"min": 1, "max": 1000})
    prefetch: int | None = field(default=None, metadata={"min": 1})
    max_messages: int | None = field(default=None, metadata={"min": 1})
    grace: float = field(default=30.0, metadata={"min": 0})
    stream_timeout: float = field(default=60.0, metadata={"min": 0.001})


@dataclass(frozen=True, kw_only=True)
class ChannelSettings:
    """A table `[channels.PATTERN]`: only `*` is special in a pattern, and the first that matches wins.

    Attributes:
        capacity: Messages that a channel of this pattern holds; by default what the layer says.
        expiry: Seconds after which a message is dropped; by default what the layer says.
        durable: Whether its messages stay until a consumer has returned, and outlive workers and the layer's process;
            by default what other processes on this layer say, or else not.
    """

    capacity: int | None = field(default=None, metadata={"min": 1})
    expiry: float | None = field(default=None, metadata={"min": 0.001})
    durable: bool | None = None


@dataclass(frozen=True, kw_only=True)
class OperationsSettings:
    """The table `[operations]`: where a command tells how it and its processes are doing, if it has a port.

    Attributes:
        port: Where it listens; 0: any port that is free; by default nowhere.
        host: The address it listens on; any other than this machine's own needs a token.
        token: What has to be brought, as `Authorization: Bearer TOKEN` or as the password that a browser asks for.
    """

    port: int | None = field(default=None, metadata={"min": 0, "max": 65535})
    host: str = "127.0.0.1"
    token: Secret | None = None

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise ValueError(f'host {self.host} is open to others and needs a token = {{ env = "NAME" }}')


@dataclass(frozen=True)
class Configuration:
    """Everything that can be configured.

    Attributes:
        path: The file it was read from, or None.
        layer: URL of the channel layer; None: the command's default.
        routing: `package.module` (its attribute `routing`) or `module:attribute`.
        channels: Settings by channel pattern, in the file's order: the first match wins.
        servers: Settings of each configured server by its table's name.
        worker: Settings of the worker.
        operations: Where a command tells how it is doing.
    """

    path: str | None = None
    layer: str | None = None
    routing: str | None = None
    channels: dict[str, ChannelSettings] = field(default_factory=dict)
    servers: dict[str, Any] = field(default_factory=dict)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    operations: OperationsSettings = field(default_factory=OperationsSettings)


@dataclass(frozen=True)
class _Top:
    layer: str | None = None
    routing: str | None = None


def load(
    path: str | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, Any],
    tables: Mapping[str, type[Any]],
    wanted: Collection[str] | None = None,
) -> Configuration:
    """Read the configuration.

    Args:
        path: A TOML file; None: no file.
        environ: The environment.
        overrides: What flags say: {"layer": url, "worker": {"grace": 5.0}}; None stands for a flag not given.
        tables: The settings dataclass of each server by its table's name; looked up only for the configured ones,
            so that a server whose packages are not installed does not matter until it is used.
        wanted: The servers whose tables are read, and `OPERATIONS`, the others being somebody else's; None: all.

    Raises:
        SettingsError: everything that is wrong with it.
    """
    configuration, problems = examine(path, environ, overrides, tables, wanted)
    if problems:
        raise SettingsError(*problems)
    return configuration


def examine(
    path: str | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, Any],
    tables: Mapping[str, type[Any]],
    wanted: Collection[str] | None = None,
) -> tuple[Configuration, list[str]]:
    """Do what `load` does, and return what is wrong beside what could be read; in its place stand the defaults.

    Raises:
        SettingsError: the file cannot be read at all.
    """
    loading = _Loading(path, environ, overrides, tables, wanted)
    return loading.configuration(), loading.problems


class _Loading:
    """One run of `load`: the three sources, and what was wrong with them."""

    def __init__(
        self,
        path: str | None,
        environ: Mapping[str, str],
        overrides: Mapping[str, Any],
        tables: Mapping[str, type[Any]],
        wanted: Collection[str] | None,
    ) -> None:
        self._path = path
        self._document = {} if path is None else _read(path)
        self._environ = {name: value for name, value in environ.items() if name.startswith("TRUNKLINE_")}
        self._overrides = overrides
        self._tables = tables
        self._wanted = [*tables, OPERATIONS] if wanted is None else wanted
        self._reader = TableReader(environ, Path(path or ".").parent)
        self.problems = self._reader.problems

    def configuration(self) -> Configuration:
        known = {"layer", "routing", "channels", "worker", "operations", *self._tables}
        for key in self._document.keys() - known:
            self.problems.append(f"{place(self._file, key)}: unknown key; {nearest(key, known)}")
        top = self._table(_Top, None) or _Top()
        worker = self._table(WorkerSettings, "worker") or WorkerSettings()
        wanted = OPERATIONS in self._wanted
        operations = (self._table(OperationsSettings, OPERATIONS) if wanted else None) or OperationsSettings()
        channels = self._channels()
        named = [name for name in self._wanted if name != OPERATIONS]
        servers = {name: self._table(self._tables[name], name) for name in named if self._configured(name)}
        self._refuse_unknown_variables()
        return Configuration(self._path, top.layer, top.routing, channels, servers, worker, operations)

    @property
    def _file(self) -> str:
        return self._path or "settings"

    def _configured(self, table: str) -> bool:
        """Tell whether any source configures the table."""
        if table in self._document or table in self._overrides:
            return True
        prefix = f"TRUNKLINE_{table.upper()}_"
        return any(name.startswith(prefix) and not _is_link(name, value) for name, value in self._environ.items())

    def _table(self, cls: type[Any], name: str | None) -> Any:
        """Fill `cls` from table `name`; None is the top of the document."""
        if name is None:
            where, prefix, overrides = self._file, "TRUNKLINE", self._overrides
            rows = {key: value for key, value in self._document.items() if key in ("layer", "routing")}
        else:
            where, prefix = f"{self._file}: [{name}]", f"TRUNKLINE_{name.upper()}"
            overrides, rows = self._overrides.get(name, {}), self._document.get(name, {})
            if not isinstance(rows, dict):
                self.problems.append(f"{place(self._file, name)}: expected a table, [{name}]")
                return None
            rows = dict(rows)
        for variable, keys in environment_names(cls, prefix, rows).items():
            value = self._environ.pop(variable, None)
            # Compose files and unit files write an unset TRUNKLINE_LAYER as an empty one.
            if value or (value is not None and name):
                _put(rows, keys, Given(value, variable, text=True))
        for key, value in overrides.items():
            if value is not None and not isinstance(value, Mapping):
                rows[key] = Given(value, "ROUTING" if key == "routing" else f"--{key.replace('_', '-')}")
        return self._reader.table(cls, wrapped(rows, where), where)

    def _channels(self) -> dict[str, ChannelSettings]:
        patterns = self._document.get("channels", {})
        if not isinstance(patterns, dict):
            self.problems.append(f'{place(self._file, "channels")}: expected tables, [channels."email.*"]')
            return {}
        channels = {}
        for pattern, rows in patterns.items():
            where = inner(place(f"{self._file}: [channels]", pattern))
            if not isinstance(rows, dict):
                self.problems.append(f"{where}: expected a table with capacity, expiry or durable")
                continue
            if any(isinstance(value, dict) for value in rows.values()):
                self.problems.append(f'{where}: a channel pattern is written in quotes: [channels."email.*"]')
                continue
            channels[pattern] = self._reader.table(ChannelSettings, wrapped(rows, where), where) or ChannelSettings()
        return channels

    def _refuse_unknown_variables(self) -> None:
        tables = {**dict.fromkeys(self._tables), OPERATIONS: None}
        others = tuple(f"TRUNKLINE_{name.upper()}_" for name in tables if name not in self._wanted)
        theirs = (name for name, value in self._environ.items() if not _is_link(name, value))
        unknown = sorted(name for name in theirs if not name.startswith(others))
        if not unknown:
            return
        known = {**environment_names(_Top, "TRUNKLINE"), **environment_names(WorkerSettings, "TRUNKLINE_WORKER")}
        for table in self._wanted:
            try:
                cls = OperationsSettings if table == OPERATIONS else self._tables[table]
                known.update(environment_names(cls, f"TRUNKLINE_{table.upper()}"))
            except ExitError:
                continue  # its extra is not installed: nobody can have meant it
        self.problems.extend(f"{name}: unknown setting; {nearest(name, known)}" for name in unknown)


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: is not valid TOML: {error}") from None


def _is_link(name: str, value: str) -> bool:
    return bool(_SERVICE_LINK.search(name)) or (name.endswith("_PORT") and value.startswith(("tcp://", "udp://")))


def _put(rows: dict[str, Any], keys: tuple[str, ...], new: Any) -> None:
    """Set a key, or one inside the tables that lead to it, keeping what else they hold."""
    first, *rest = keys
    if rest:
        below = dict(rows[first]) if isinstance(rows.get(first), dict) else {}
        _put(below, tuple(rest), new)
        new = below
    rows[first] = new

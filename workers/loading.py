"""Routings and consumers by their names, and errors that say in one line which file and line is wrong."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

from .exceptions import RoutingError

if TYPE_CHECKING:
    from .routing import Routing

OURS = os.path.dirname(os.path.abspath(__file__))


def load_routing(name: str, where: str = "") -> Routing:
    """Import a routing; the working directory comes first on `sys.path`.

    Args:
        name: `package.module` (its attribute `routing`) or `package.module:attribute`.
        where: File and line that name it, for the error.

    Raises:
        RoutingError: in one line, what is wrong and where.
    """
    from .routing import Routing

    here = _here()
    if here and sys.path[:1] != [here]:
        sys.path.insert(0, here)
    module_name, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise RoutingError(f"{name!r} is no name of a routing: package.module or package.module:attribute", where)
    module = _module(module_name, where, "routing")
    found = _attribute(module, attribute or "routing", where)
    try:
        routing = found if isinstance(found, Routing) else Routing(found, _file(module))
        routing.channel_names()
    except RoutingError as error:
        error.where = error.where or _file(module)
        raise
    return routing


def consumer(name: str, where: str) -> Any:
    """Import a consumer by its dotted name (`package.module.function` or `package.module:Class.method`).

    Args:
        name: The name.
        where: File and line that name it, for the error.

    Raises:
        RoutingError: there is none of that name, or its module does not import.
    """
    module_name, colon, attributes = name.partition(":")
    if not colon:
        module_name, _, attributes = name.rpartition(".")
        while module_name and not _exists(module_name):
            module_name, _, attribute = module_name.rpartition(".")
            attributes = f"{attribute}.{attributes}"
    if not module_name or not attributes:
        raise RoutingError(f"no consumer {name!r}: no such module; name it as package.module.function", where)
    found: Any = _module(module_name, where, "consumer")
    for attribute in attributes.split("."):
        found = _attribute(found, attribute, where)
    if not callable(found):
        raise RoutingError(f"{name!r} is no consumer: it cannot be called", where)
    return found


def short(path: str) -> str:
    """Return a file's path as seen from the working directory, where it lies inside."""
    return path.removeprefix(os.path.join(_here(), ""))


def blame(error: BaseException) -> RoutingError:
    """Return the one line of an error in a user's own code, with the file and line it came from."""
    text = error.msg if isinstance(error, SyntaxError) else error
    return RoutingError(" ".join(f"{type(error).__name__}: {text}".split()), _place(error))


def _here() -> str:
    """Return the working directory; "" where it was removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
    except KeyboardInterrupt:
        raise
    except BaseException:  # a parent package that fails to import exists, and its own error says more
        return True


def _module(name: str, where: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except RoutingError as error:
        error.where = error.where or _place(error)
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and (name == missing or name.startswith(missing + ".")):
            raise RoutingError(f"no {what} module {name!r} (looked in {_here() or 'sys.path'} first)", where) from None
        blamed = blame(error)
        blamed.where = blamed.where or _origin(name)
        raise blamed from None


def _attribute(owner: Any, name: str, where: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError:
        near = difflib.get_close_matches(name, dir(owner), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        text = f"{getattr(owner, '__name__', owner)!r} has no attribute {name!r}{hint}"
        raise RoutingError(text, where or _file(owner)) from None


def _file(module: Any) -> str:
    return short(getattr(module, "__file__", None) or "")


def _origin(name: str) -> str:
    """Return the file of a module, or of the package around it, that could not even be compiled."""
    try:
        spec = importlib.util.find_spec(name)
    except Exception:
        return _origin(name.rpartition(".")[0])
    return short(spec.origin or "") if spec is not None else ""


def _place(error: BaseException) -> str:
    """Return file and line of the user's own code an error came from."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{short(error.filename)}:{error.lineno or 1}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(("<frozen", OURS)) and frame.filename != importlib.__file__
    ]
    here = os.path.join(_here(), "")
    own = [frame for frame in frames if frame.filename.startswith(here) and "site-packages" not in frame.filename]
    for frame in reversed(own or frames):
        return f"{short(frame.filename)}:{frame.lineno}"
    return ""

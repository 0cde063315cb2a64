"""The reference page of the settings, written from their classes."""

from dataclasses import dataclass, field
from typing import Any, Literal

from trunkline.operations import reference
from trunkline.operations.secret import Secret


@dataclass
class Inner:
    """What is inside.

    Attributes:
        deep: How deep
            it goes.
    """

    deep: tuple[int, ...] = (1,)


@dataclass
class Base:
    """What others build on.

    Args:
        pace: How fast.
    """

    pace: float = field(default=2.5, metadata={"min": 0.5, "max": 10})


@dataclass
class Shop(Base):
    """What a shop can set.

    Attributes:
        doors: Where people come in.
        mode: Open | closed.
    """

    doors: list[str] = field(default_factory=lambda: ["front"])
    mode: Literal["open", "shut"] = "open"
    owner: str | None = None
    limit: int | bool = False
    inner: Inner = field(default_factory=Inner)
    prices: dict[str, int] = field(default_factory=dict)
    made: int = field(default=0, init=False)


@dataclass
class Needy:
    address: str
    token: Secret | None = None


def test_reference() -> None:
    tables: dict[str, type[Any]] = {"shop": Shop, "needy": Needy}
    page = reference(tables)
    lines = page.splitlines()
    for line in [
        "| `token` | `{ env }` or `{ file }` |  |  |",
        "## `[worker]`",
        "## `[channels.PATTERN]`",
        "| `grace` | number from 0 | `30` | Seconds that consumers may still need when the process stops. |",
        "## `[shop]`",
        "What a shop can set.",
        "| `pace` | number from 0.5 to 10 | `2.5` | How fast. |",
        '| `doors` | list of text | `["front"]` | Where people come in. |',
        '| `mode` | `"open"` or `"shut"` | `"open"` | Open \\| closed. |',
        "| `owner` | text |  |  |",
        "| `limit` | whole number or true or false | `false` |  |",
        "| `inner` | table |  |  |",
        "| `prices` | table |  |  |",
        "## `[shop.inner]`",
        "| `deep` | list of whole number | `[1]` | How deep it goes. |",
        "| `address` | text | required |  |",
    ]:
        assert line in lines, page
    assert "`made`" not in page


@dataclass
class Shops:
    """The shops, a table each.

    Attributes:
        shops: Their settings by name.
    """

    shops: dict[str, Shop] = field(default_factory=dict, metadata={"tables": "NAME"})


def test_tables_that_users_name() -> None:
    lines = reference({"shop": Shops}).splitlines()
    assert "## `[shop.NAME]`" in lines
    assert "## `[shop.NAME.inner]`" in lines
    assert not any("shops" in line for line in lines)

"""Writes the reference pages that are generated from code, so that nothing is documented twice.

Formats come from the typed definitions, settings from the servers' settings classes, the command line from its own
parsers, the layout in Redis from what its scripts say of themselves.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis_layout

from trunkline import message_formats
from trunkline.command_line import reference as command_line_reference
from trunkline.operations import reference as settings_reference
from trunkline.protocol_servers import SERVERS, load_server

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def write_pages(app: "Sphinx") -> None:
    """Write each page when what it says has changed, so that an unchanged one is not built again."""
    folder = Path(app.srcdir) / "reference" / "generated"
    folder.mkdir(exist_ok=True)
    tables = {name: load_server(name).Settings for name in SERVERS}
    for name, text in {
        "formats.md": message_formats.markdown(),
        "settings.md": settings_reference(tables),
        "command-line.md": command_line_reference(),
        **redis_layout.pages(),
    }.items():
        page = folder / name
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def setup(app: "Sphinx") -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True}

"""Sphinx configuration: `make docs` builds `docs/_build/html`, and fails on a warning."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

import trunkline

project = "Trunkline"
author = "Trunkline contributors"
copyright = "2026, Trunkline contributors"
version = release = trunkline.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated_reference"]
exclude_patterns = ["_build", "reference/generated"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
smartquotes = False  # a typographic quote cannot be copied into a program
html_theme = "furo"
html_title = f"Trunkline {version}"
nitpicky = False

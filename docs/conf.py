"""Sphinx: every Markdown file of the project as one site, so that what is read there is what stands here.

The source directory is the repository's root (`make docs`); this folder only holds the configuration.
"""

project = "sekisho"
author = "the sekisho maintainers"
root_doc = "docs/index"

extensions = ["myst_parser"]
myst_heading_anchors = 4
# The protocol's examples are HTTP with JSON that is shown decoded: no lexer knows them.
suppress_warnings = ["misc.highlighting_failure"]

exclude_patterns = [
    ".*",
    "build",
    "screenshots",
    "bench-results",
    "tests",
    # Shown in docs/ca, which leads there.
    "gateway/practice/*.md",
    "**/site-packages",
    "**/node_modules",
]

html_theme = "furo"
html_title = "sekisho"
html_copy_source = False
html_show_sphinx = False

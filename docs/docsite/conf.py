"""Settings of sphinx for the documentation site, which script/docs builds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from docutils import nodes

if TYPE_CHECKING:
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

GALAXY = yaml.safe_load((Path(__file__).parents[2] / "galaxy.yml").read_text(encoding="utf-8"))
CORE = "https://docs.ansible.com/projects/ansible/latest"
# The labels of ansible-core's documentation that antsibull-docs refers to, and their pages
CORE_PAGES = {
    "ansible_configuration_settings": "reference_appendices/config.html",
    "callback_plugins": "plugins/callback.html",
    "common_return_values": "reference_appendices/common_return_values.html",
}

project = f"{GALAXY['namespace']}.{GALAXY['name']}"
project_copyright = GALAXY["authors"][0]
release = version = str(GALAXY["version"])

extensions = ["sphinx_antsibull_ext", "sphinx_rtd_theme"]
nitpicky = True
default_role = "any"

html_theme = "sphinx_rtd_theme"
html_theme_options = {"navigation_depth": 2}
html_title = f"{project} {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_use_index = False
html_domain_indices = False


def link_to_core(
    _app: Sphinx, _env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """Link to a page of ansible-core's documentation, whose inventory an offline build cannot read."""
    target = node["reftarget"]
    plugin = re.fullmatch(r"ansible_collections\.ansible\.builtin\.(\w+_[a-z]+)", target)
    page = f"collections/ansible/builtin/{plugin[1]}.html" if plugin else CORE_PAGES.get(target)
    return nodes.reference("", "", content, internal=False, refuri=f"{CORE}/{page}") if page else None


def shorten(app: Sphinx, _document: nodes.document) -> None:
    """Have the sidebar show the name of a module, plugin or role alone, without collection and description."""
    docname = app.env.docname
    page = re.fullmatch(r"collection/(\w+)_(module|role|lookup|filter|callback)", docname)
    if page:
        title = next(app.env.tocs[docname].findall(nodes.reference))
        title[:] = [nodes.Text(page[1])]


def setup(app: Sphinx) -> None:
    """Connect what this file adds to sphinx."""
    app.connect("missing-reference", link_to_core)
    # Sphinx makes the sidebar's entry of a page at the same event, with priority 500.
    app.connect("doctree-read", shorten, priority=900)

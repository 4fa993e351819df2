"""The documentation site: `sphinx-build docs build/site` builds it, `pip install 'fourfold[docs]'` adds the tools."""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "docs" / "_site")]

import links  # noqa: E402
import reference  # noqa: E402

import fourfold  # noqa: E402

project = "fourfold"
author = "The fourfold authors"
version = release = fourfold.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.linkcode",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_site", "gallery/*.py", "gallery/*.ipynb", "sg_execution_times.rst"]
default_role = "code"  # docstrings mark names by single backticks, as Markdown does
toc_object_entries = False
python_maximum_signature_line_length = 100
show_warning_types = True

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["config.cache"]  # the gallery's configuration holds a class, which Sphinx cannot pickle

napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Shapes", "notes_style")]
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autosummary_generate = False
autosummary_ignore_module_all = False
linkcode_resolve = reference.source_of

html_theme = "furo"
html_title = f"fourfold {version}"
html_static_path = ["_site/static"]
html_css_files = ["fourfold.css"]
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {
    "source_repository": links.REPOSITORY,
    "source_branch": "main",
    "source_directory": "docs/",
    "light_css_variables": {"color-brand-primary": "#0b57a4", "color-brand-content": "#0b57a4"},
    "dark_css_variables": {"color-brand-primary": "#7db7f5", "color-brand-content": "#7db7f5"},
}
copybutton_exclude = ".linenos, .gp, .go"

sphinx_gallery_conf = {
    "examples_dirs": [str(ROOT / "examples" / "gallery")],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"\.py$",
    "abort_on_example_error": True,
    "plot_gallery": "True",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "within_subsection_order": "FileNameSortKey",
    "min_reported_time": 3600,
    "write_computation_times": False,
    "reset_modules": ("matplotlib", reference.reset_randomness),
}


def setup(app):
    """Write the reference, and lead links out of `docs/` to the repository."""
    app.connect("config-inited", reference.write)
    for listener in app.events.listeners["autodoc-process-docstring"]:
        if listener.handler is reference.napoleon._process_docstring:
            app.disconnect(listener.id)
    app.connect("autodoc-process-docstring", reference.process)
    app.connect("autodoc-process-bases", reference.show_public_bases)
    app.connect("source-read", links.rewrite)
    app.connect("include-read", links.rewrite_included)
    return {"parallel_read_safe": True}

"""Sphinx's configuration of the rendered course; tools/website.py does what has no option here."""

import os
import sys
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

project = "LoRA, made clear"
author = "The LoRA, made clear authors"
copyright = f"2026, {author}"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "tools.website"]
# The sources lie where readers of the repository look for them, so the whole repository is the source folder.
include_patterns = ["index.md", "docs/*.md", "notebooks/*.ipynb", "experiments/README.md"]
exclude_patterns = [".*", "build", "lorautils", "tests", "adapters", "**/.ipynb_checkpoints"]

nb_execution_mode = "off"  # the stored outputs, which CI compares with fresh ones
nb_merge_streams = True
nb_ipywidgets_js = {}  # no widget is stored; a slider brings its frames
myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_heading_slug_func = "tools.website.anchor"  # the anchors of JupyterLab
myst_update_mathjax = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
default_role = "code"  # docstrings write `name`

html_theme = "furo"
html_title = project
html_static_path = ["_static", str(files("jupyter_server_mathjax") / "static")]  # MathJax 2.7, no other host
html_css_files = ["course.css"]
html_js_files = ["course.js", "guesses.js"]
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
mathjax_path = "MathJax.js"
BLANK = {"font-family": "MathJax_Blank", "src": "local('MathJax_Blank')"}  # by default a request for about:blank
mathjax2_config = {
    "config": ["TeX-AMS-MML_HTMLorMML-full.js", "Safe.js"],
    "messageStyle": "none",
    "HTML-CSS": {"availableFonts": [], "webFont": "STIX-Web", "styles": {"@font-face": BLANK}},
    "tex2jax": {"ignoreClass": "document", "processClass": "math"},
    "menuSettings": {"explorer": False},
}

"""JupyterLab's settings for this course: opens the working copy of notebook 00, asks no outside host, shows no news.

`make lab` names this folder in JUPYTER_CONFIG_PATH, so the settings hold here and nowhere else.
"""

from pathlib import Path

import zmq

c = get_config()  # noqa: F821  (Jupyter defines it)

c.ServerApp.root_dir = str(Path(__file__).parent.parent)
c.LabApp.default_url = "/lab/tree/my/00_start_here.ipynb"
c.LabApp.extension_manager = "readonly"
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.news_url = None
if zmq.has("curve"):  # others on a shared machine cannot read along, and the kernel does not warn that they can
    c.KernelManager.transport_encryption = "auto"

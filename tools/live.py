"""Make what the pages "An adapter, live" and "Figures that move" load: python -m tools.live

`make site` calls it. llama.cpp as WebAssembly comes from npm with a pinned hash. The base model comes from the cache.
The shipped adapter is cut into bands: y = W x + sum over bands of scale * s B A x, and the page chooses each scale.
"""

import base64
import hashlib
import io
import json
import logging
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from filelock import FileLock
from torch import Tensor
from transformers import PretrainedConfig

from lorautils import ROOT, basemodel, results
from lorautils.basemodel import sha256_of
from lorautils.cli.ask import THRESHOLD
from lorautils.export import gguf, package
from lorautils.tasks import cron

PARTS = ROOT / "build" / "site" / "live"
MANIFEST = "manifest.json"
POLICY = (  # the worker of llama.cpp is made of a blob; styles of the theme stand in elements
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' {}; worker-src blob:; connect-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; object-src 'none'; base-uri 'self'"
)


class Package(NamedTuple):
    """A package of npm: its hash as npm tells it, and the names that its files get here."""

    name: str
    integrity: str
    files: Mapping[str, str]


PACKAGES = (
    Package(  # llama.cpp, built for WebAssembly; MIT
        "@wllama/wllama@3.13.0",
        "sha512-ZvoRdQAn+E+18EvQ9qS036gudiI9rbZRBJgG/qNICPPwrA0Y6SMMdbziz/j7K/0WxcbJlhaRraVIYsnEy732NA==",
        {"esm/index.min.js": "wllama.js", "esm/wasm/wllama.wasm": "wllama.wasm", "LICENCE": "wllama.LICENSE.txt"},
    ),
    Package(  # the same for browsers without JSPI, such as Safari; MIT
        "@wllama/wllama-compat@3.13.0",
        "sha512-MSWwyzVXpwkstvIGzOsQ9jlRm8kY5S5J0Gdw4E6M9mXqhgO/5tj+YNfxSoqN1GvsAOwui95JPtwX3hO6VZkbzg==",
        {"wasm/wllama.js": "compat.js", "wasm/wllama.wasm": "compat.wasm"},
    ),
    Package(  # English for an expression; MIT
        "cronstrue@3.39.0",
        "sha512-b5lKTLr5uFJZfkjjGx3k/XIHvi1xKmv1wVmHOC1hVUJCgf8SYX/EoX4SHeJKYPVQRXDVddN78lwhmwtnUbdn7w==",
        {"dist/cronstrue.min.js": "cronstrue.js", "LICENSE": "cronstrue.LICENSE.txt"},
    ),
    Package(  # its next times; MIT
        "croner@11.0.1",
        "sha512-/fmHcoczPy5cMcmJ6ex7J7LAwb545V1dNmRrdDGP3hwStg/06IYP56YgBySCSdWGDz2PJYQyDukaR8b8R5o2HA==",
        {"dist/croner.js": "croner.js", "LICENSE": "croner.LICENSE.txt"},
    ),
    Package(  # draws the page "Figures that move"; MIT or LGPL
        "jsxgraph@1.13.3",
        "sha512-sUVTxB5mDPL5WIEeuo9nprymRymU1ojU2YDtpcK6JzcIe3DkxpQ/2uolGuJ3R0lH6tb3wCGY+1PgVhCVic6yjg==",
        {"distrib/jsxgraphcore.js": "jsxgraph.js", "LICENSE.MIT": "jsxgraph.LICENSE.txt"},
    ),
)
CUTS = ((0, 1), (1, 2), (2, 4), (4, 8))  # components from, to: rank 1, 2, 4, 8 is the first one, two, three, four bands
GROUPS = {"attention": "self_attn", "mlp": "mlp"}
TRAINED = {"strength": 1, "attention": True, "mlp": True, "rank": 8}  # the adapter as it is shipped
SCALING = 4.0  # alpha / r of adapters/cron
Factors = Mapping[str, tuple[Tensor, Tensor]]


def factors() -> Factors:
    """Return B (out, r) and A (r, in) of each module of the shipped adapter."""
    return package.read(cron.ADAPTER)[0]


def components(b: Tensor, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the SVD of B A from B (out, r) and A (r, in), in float64: U (out, r), S (r,), Vh (r, in).

    The large product is never made: with B = Q R and A^T = P T it is Q (R T^T) P^T, and R T^T is r x r.
    """
    (q, r), (p, t) = torch.linalg.qr(b.double()), torch.linalg.qr(a.double().T)
    u, s, vh = torch.linalg.svd(r @ t.T)
    return q @ u, s, vh @ p.T


def bands(factors: Factors) -> dict[tuple[str, int], dict[str, tuple[Tensor, Tensor]]]:
    """Return B and A of each module for each group and each band of CUTS; the sum of all is the adapter's B A."""
    cut = {(group, number): {} for group in GROUPS for number in range(len(CUTS))}
    for module, (b, a) in factors.items():
        group = next(name for name, part in GROUPS.items() if f".{part}." in module)
        u, s, vh = components(b, a)
        for number, (start, end) in enumerate(CUTS):
            root = s[start:end].sqrt()
            cut[group, number][module] = u[:, start:end] * root, root[:, None] * vh[start:end]
    return cut


def write_bands(folder: Path, factors: Factors, scaling: float, config: PretrainedConfig) -> list[Path]:
    """Write each band as a float16 adapter, with the alpha that keeps alpha / r = `scaling`; return the files."""
    files = []
    for (group, number), band in bands(factors).items():
        start, end = CUTS[number]
        files.append(folder / f"{group}-{start + 1}-{end}.gguf")
        gguf.write_adapter(files[-1], band, scaling * (end - start), config, "F16")
    return files


def fetch(wanted: Package, folder: Path) -> None:
    """Let npm fetch a package with the user's own settings, compare its hash, and write its files into a folder.

    OSError if npm is missing, if it cannot get the package, or if the bytes are others.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm was not found")
    with tempfile.TemporaryDirectory() as work:
        command = [npm, "pack", wanted.name, "--ignore-scripts", "--silent"]
        packed = subprocess.run(command, cwd=work, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        archive = next(Path(work).glob("*.tgz"), None)
        if archive is None:
            raise OSError(f"npm could not get {wanted.name}: {(packed.stdout + packed.stderr).strip()[-300:]}")
        content = archive.read_bytes()
    if wanted.integrity != "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode():
        raise OSError(f"npm gave other bytes for {wanted.name} than those of {wanted.integrity}")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for inside, name in wanted.files.items():
            (folder / name).write_bytes(archive.extractfile(f"package/{inside}").read())


def write_base(folder: Path) -> list[Path]:
    """Write the base model with 4 bits, as its authors published it, in two halves: some hosts refuse larger files."""
    whole = folder / "base.gguf"
    name = basemodel.fetch()  # the base of the course, whatever LORAUTILS_MODEL says
    model, tokenizer = basemodel.load_base_model(name, dtype="bfloat16"), basemodel.load_tokenizer(name)
    gguf.write_model(whole, model, tokenizer, "Q4_1")
    content = whole.read_bytes()
    whole.unlink()
    files = [folder / "base-1-of-2", folder / "base-2-of-2"]
    for file, half in zip(files, (content[: len(content) // 2], content[len(content) // 2 :]), strict=True):
        file.write_bytes(half)
    return files


def build(folder: Path) -> str | None:
    """Write all parts of the page into a folder, unless they are there; return why they are missing, if they are.

    Without npm the page is built all the same, shows recorded answers and says why it has no model.
    """
    (ROOT / "build").mkdir(exist_ok=True)
    with FileLock(ROOT / "build" / "live.lock"):  # two tests may build at once
        if _recipe() == _read(folder).get("recipe"):
            return None
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            for wanted in PACKAGES:
                fetch(wanted, folder)
        except OSError as error:
            _write(folder, {"missing": str(error)})
            return str(error)
        _write(folder, _models(folder))
        return None


def _models(folder: Path) -> dict:
    """Write the base and the bands; return the manifest of all parts."""
    logging.getLogger("gguf").setLevel(logging.WARNING)
    base = write_base(folder)
    cut = write_bands(folder, factors(), SCALING, basemodel.load_config(basemodel.fetch()))
    names = sorted(path.name for path in folder.iterdir())
    files = {name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)} for name in names}
    groups = {"base": [path.name for path in base], "bands": [path.name for path in cut]}
    return {"recipe": _recipe(), **groups, "files": files}


def _recipe() -> str:
    """Return a hash of all that the parts are made of; this file is among it."""
    made_of = [Path(__file__), Path(gguf.__file__), cron.ADAPTER / "adapter_model.safetensors"]
    return hashlib.sha256("".join([basemodel.SOURCE.gguf_sha256, *map(sha256_of, made_of)]).encode()).hexdigest()


def _read(folder: Path) -> dict:
    path = folder / MANIFEST
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _write(folder: Path, manifest: dict) -> None:
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def filled(page: str) -> str:
    """Return the text of the page with its data, and with how many answers are right where a comment asks for it.

    `<!-- right rank=1 -->` is the count of the recorded setting that differs from the adapter as trained in this.
    """

    def right(place: re.Match) -> str:
        pairs = (change.split("=") for change in place[1].split())
        wanted = {name: value == "on" if value in ("on", "off") else float(value) for name, value in pairs}
        (row,) = (row for row in recorded() if all(row[name] == (TRAINED | wanted)[name] for name in TRAINED))
        return f"{row['right']} of {row['of']}"

    return re.sub(r"<!-- right((?: \w+=\S+)*) -->", right, page).replace("<!-- live_data -->", data())


def recorded() -> list[dict]:
    """Return the recorded answers, one entry for each way to turn the adapter; see experiments/adapter_bands.py."""
    return results.read("adapter_bands.json")["settings"]


def data() -> str:
    """Return what the page knows before any model is loaded, as a block of JSON in its HTML.

    Recorded answers of the adapter as it is turned; small adapters trained that way, the median of their seeds on
    Test-A; and how much of the update, in squares, each component holds.
    """
    known = {
        "recorded": recorded(),
        "trained": trained(),
        "shares": shares(),
        "threshold": THRESHOLD,
    }
    content = json.dumps(known).replace("<", "\\u003c")  # no answer can end the block
    return f'<script type="application/json" id="live-data">{content}</script>'


def trained() -> dict[str, dict[str, float]]:
    """Return rank and Test-A in per cent of recorded adapters, of all layers by rank, of attention and MLP alone."""
    runs = results.read("sweeps.jsonl")
    kinds = {f"rank {r}": ("rank", 7, r) for r in (1, 4, 8)} | {
        "attention": ("targets", 4, 16),
        "mlp": ("targets", 3, 10),
    }
    found = {}
    for name, (sweep, layers, r) in kinds.items():
        chosen = [run for run in runs if _is(run["run"], sweep, layers, r)]
        rates = {run["run"]["learning_rate"] for run in chosen}
        by_rate = [[run["scores"]["A"] for run in chosen if run["run"]["learning_rate"] == rate] for rate in rates]
        best = max(median(score["exact"] / score["n"] for score in scores) for scores in by_rate if len(scores) == 5)
        found[name] = {"r": r, "percent": round(100 * best)}
    return found


def _is(run: dict, sweep: str, layers: int, r: int) -> bool:
    return run["sweep"] in (sweep, f"{sweep} seeds") and len(run["targets"]) == layers and run["r"] == r


def shares() -> dict[str, list[float]]:
    """Return, for each group, how much of its |dW|^2 each of the eight components holds: 1 in all."""
    squares = {group: torch.zeros(8, dtype=torch.float64) for group in GROUPS}
    for module, (b, a) in factors().items():
        squares["attention" if ".self_attn." in module else "mlp"] += components(b, a)[1] ** 2
    return {group: [round(share, 4) for share in (total / total.sum()).tolist()] for group, total in squares.items()}


def seal(page: Path) -> None:
    """Write a content security policy into a page: this host alone, and no script in it but those that it has now."""
    text = page.read_text(encoding="utf-8")
    inline = re.findall(r"<script>(.+?)</script>", text, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in inline]
    allowed = " ".join(f"'sha256-{found}'" for found in hashes)
    policy = POLICY.format(allowed)
    head = f'<head>\n<meta http-equiv="Content-Security-Policy" content="{policy}">'
    page.write_text(text.replace("<head>", head, 1), encoding="utf-8")


if __name__ == "__main__":
    why = build(PARTS)
    sys.exit(f"The page has no model: {why}" if why else None)

"""Make what the page "An adapter, live" loads: python -m tools.live

`make site` calls it. llama.cpp as WebAssembly comes from npm with a pinned hash. The base model comes from the cache.
The shipped adapter is cut into bands: y = W x + sum over bands of scale * s B A x, and the page chooses each scale.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import PretrainedConfig

from lorautils.export import gguf

CUTS = ((0, 1), (1, 2), (2, 4), (4, 8))  # components from, to: rank 1, 2, 4, 8 is the first one, two, three, four bands
GROUPS = {"attention": "self_attn", "mlp": "mlp"}
Factors = Mapping[str, tuple[Tensor, Tensor]]


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

"""An exported adapter with one mistake each, as writers of GGUF files make them: notebook 15 looks for the symptoms."""

from pathlib import Path

from torch import Tensor
from transformers import PretrainedConfig

from lorautils.export import gguf
from lorautils.export.package import Factors


def halves(rows: Tensor, heads: int) -> Tensor:
    """Undo `gguf.neighbours`, so that a file that is written from these rows has them as transformers has them.

    Example:
        >>> import torch
        >>> halves(torch.tensor([0, 2, 1, 3]), heads=1).tolist()
        [0, 1, 2, 3]
    """
    return rows.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def mistakes(factors: Factors, alpha: float, config: PretrainedConfig) -> dict[str, tuple[Factors, float]]:
    """Return what a writer with each mistake would have been given: factors and alpha, for `gguf.write_adapter`.

    All have 7 names and 210 pairs at most, fit the base, and load without a word.
    """
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    without = {module: pair for module, pair in factors.items() if module.rpartition(".")[2] not in heads}
    rank = next(a.shape[0] for _, a in factors.values())
    return {
        "rows of q and k as they are": (as_they_are(factors, heads), alpha),
        "alpha lost": (factors, rank),  # llama.cpp takes the scale 1, as if alpha were r
        "q and k left out": (without, alpha),
    }


def as_they_are(factors: Factors, heads: dict[str, int]) -> Factors:
    """Return the factors of which a writer leaves the rows of the modules in `heads` in transformers' order."""
    return {
        module: (halves(b, heads[kind]) if (kind := module.rpartition(".")[2]) in heads else b, a)
        for module, (b, a) in factors.items()
    }


def four_files(folder: str | Path, factors: Factors, alpha: float, config: PretrainedConfig) -> list[Path]:
    """Write an adapter in four ways, as a.gguf to d.gguf, and return the paths: exercise 3 of notebook 15.

    Three of them say the same: s B A is left alone by another order of the components, by a factor that moves from B
    to alpha, and by a change of both signs. In one, the rows of k are in transformers' order.
    """
    ways = {
        "a": ({module: (b.flip(1), a.flip(0)) for module, (b, a) in factors.items()}, alpha),
        "b": ({module: (b / 2, a) for module, (b, a) in factors.items()}, 2 * alpha),
        "c": (as_they_are(factors, {"k_proj": config.num_key_value_heads}), alpha),
        "d": ({module: (-b, -a) for module, (b, a) in factors.items()}, alpha),
    }
    paths = [Path(folder) / f"{letter}.gguf" for letter in ways]
    for path, given in zip(paths, ways.values(), strict=True):
        gguf.write_adapter(path, *given, config)
    return paths

"""An exported adapter with one mistake each, as writers of GGUF files make them: notebook 15 looks for the symptoms."""

from torch import Tensor
from transformers import PretrainedConfig

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

    def kind(module: str) -> str:
        return module.rpartition(".")[2]

    as_they_are = {m: (halves(b, heads[kind(m)]) if kind(m) in heads else b, a) for m, (b, a) in factors.items()}
    without = {module: pair for module, pair in factors.items() if kind(module) not in heads}
    rank = next(a.shape[0] for _, a in factors.values())
    return {
        "rows of q and k as they are": (as_they_are, alpha),
        "alpha lost": (factors, rank),  # llama.cpp takes the scale 1, as if alpha were r
        "q and k left out": (without, alpha),
    }

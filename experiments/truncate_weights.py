"""The loss of the base model with all of its 210 projections cut to rank k, and two controls. Notebook 02 plots it.

`python -m experiments.truncate_weights` writes results/truncated_weights.json. Three ways to change W at rank k: its
truncated SVD; noise as large as the error of that; the rank-k matrix whose outputs on a calibration text are nearest.
"""

import json
from collections.abc import Callable

import torch
from sklearn.datasets import load_wine
from torch import Tensor

from experiments.full_update import projections
from experiments.machine import machine
from lorautils import setup, texts
from lorautils.basemodel import load_base_model, load_tokenizer
from lorautils.evaluation import text_loss
from lorautils.results import RESULTS

RANKS = [1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 288, 320, 384, 448, 480, 512, 544, 560, 576]
WORDS = 200  # of the second text, which is a description of data and no prose
DAMPING = 1e-3  # added to the diagonal of X^T X, in units of its mean: 528 tokens leave some directions unseen


@torch.no_grad()
def output_directions(model, tokenizer, text: str) -> dict[str, Tensor]:
    """Return, of each projection, the orthonormal directions (out, min(m, n)) of its outputs, the strongest first."""
    directions = {}

    def keep(name):
        def hook(module, inputs):
            x = inputs[0][0].double()  # (tokens, in)
            moments = x.T @ x
            moments.diagonal().add_(DAMPING * moments.diagonal().mean())
            root = torch.linalg.cholesky(moments).float()
            directions[name] = torch.linalg.svd(module.weight @ root, full_matrices=False).U

        return hook

    hooks = [module.register_forward_pre_hook(keep(name)) for name, module in projections(model).items()]
    model(**tokenizer(text, return_tensors="pt"))
    for hook in hooks:
        hook.remove()
    return directions


def ways(whole: dict[str, Tensor], directions: dict[str, Tensor]) -> dict[str, Callable[[int], Callable]]:
    """Return the three ways to change weights at rank k: ways[...](k) is a function name -> changed weight."""
    parts = {name: torch.linalg.svd(weight, full_matrices=False) for name, weight in whole.items()}

    def truncated(k):
        return lambda name: parts[name].U[:, :k] * parts[name].S[:k] @ parts[name].Vh[:k]

    def noisy(k):
        generator = torch.Generator().manual_seed(0)

        def change(name):
            noise = torch.randn(whole[name].shape, dtype=torch.float64, generator=generator)
            return whole[name] + (parts[name].S[k:].norm() * noise / noise.norm()).float()

        return change

    def aware(k):
        return lambda name: directions[name][:, :k] @ (directions[name][:, :k].T @ whole[name])

    return {"truncated": truncated, "noise": noisy, "aware": aware}


@torch.no_grad()
def curves(model, tokenizer, measured: dict[str, str]) -> dict[str, dict[str, dict[int, float]]]:
    """Return the loss of each text of `measured`, way and rank: curves[text][way][k]."""
    whole = {name: module.weight.detach().clone() for name, module in projections(model).items()}
    changes = ways(whole, output_directions(model, tokenizer, texts.read("calibration")))
    losses = {text: {way: {} for way in changes} for text in measured}
    for way, at_rank in changes.items():
        for k in RANKS:
            change = at_rank(k)
            for name, module in projections(model).items():
                module.weight.copy_(change(name))
            for text in measured:
                losses[text][way][k] = round(text_loss(model, tokenizer, measured[text])[0], 4)
            print(way, k, {text: losses[text][way][k] for text in measured}, flush=True)
    return losses


def main() -> None:
    """Measure both texts and write the result."""
    setup()
    model, tokenizer = load_base_model(), load_tokenizer()
    both = {"english": texts.read("english"), "wine": " ".join(load_wine().DESCR.split()[:WORDS])}
    whole = {name: text_loss(model, tokenizer, text) for name, text in both.items()}
    result = {
        "tokens": {name: tokens for name, (_, tokens) in whole.items()},
        "whole": {name: round(loss, 4) for name, (loss, _) in whole.items()},
        "losses": curves(model, tokenizer, both),
        "machine": machine(),
    }
    (RESULTS / "truncated_weights.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

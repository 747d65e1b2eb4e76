"""Which MLP features of late layers raise the token that comes next? Notebook 05 follows one of them.

`python -m experiments.mlp_feature` writes results/mlp_feature.json. A feature adds h = silu(gate x) * up x times its
column of down to the stream, and the head reads that column as logits. Its score is the share of its 20 strongest
tokens whose next token is among the 10 that the column raises most. The search reads three texts, the second a fourth.
"""

import json
from collections.abc import Iterable

import torch
from torch import Tensor

from experiments.machine import machine
from lorautils import setup, texts
from lorautils.basemodel import load_base_model, load_tokenizer
from lorautils.results import RESULTS

SEARCH, SECOND = ("prose", "code", "tables"), ("dialogue",)
LAYERS = range(20, 30)
CHOSEN = (
    22,
    692,
    -1,
)  # layer, feature, sign: the first that expects words on both texts; before it: digits, line ends, signs
WINDOW, STRONGEST, RAISED = 256, 20, 10


def windows(tokenizer, kinds: Iterable[str]) -> list[Tensor]:
    """Return the ids of texts in pieces of WINDOW tokens (1, tokens), without the rest of each text."""
    ids = [tokenizer(texts.read(kind), return_tensors="pt")["input_ids"][0] for kind in kinds]
    return [piece[None] for text in ids for piece in text.split(WINDOW) if len(piece) == WINDOW]


@torch.no_grad()
def products(model, pieces: list[Tensor], layers: Iterable[int]) -> dict[int, Tensor]:
    """Return h of every layer, (windows * (WINDOW - 2), features): without the first token, a sink, and the last."""
    found = {layer: [] for layer in layers}
    hooks = [
        model.model.layers[layer].mlp.down_proj.register_forward_pre_hook(
            lambda module, args, kept=kept: kept.append(args[0][0, 1:-1].clone())
        )
        for layer, kept in found.items()
    ]
    for ids in pieces:
        model.model(ids)
    for hook in hooks:
        hook.remove()
    return {layer: torch.cat(kept) for layer, kept in found.items()}


@torch.no_grad()
def raised(model, layer: int, sign: int) -> Tensor:
    """Return the ids of the RAISED tokens whose logits each feature's column raises most: (features, RAISED)."""
    columns = sign * model.model.layers[layer].mlp.down_proj.weight.T  # (features, hidden)
    return ((columns * model.model.norm.weight) @ model.lm_head.weight.T).topk(RAISED).indices


def scores(h: Tensor, following: Tensor, expected: Tensor) -> Tensor:
    """Return of each feature the share of its STRONGEST tokens whose next token is expected: (features,)."""
    strongest = h.topk(STRONGEST, dim=0).indices.T  # (features, STRONGEST)
    return (following[strongest][:, :, None] == expected[:, None, :]).any(dim=-1).float().mean(dim=1)


@torch.no_grad()
def effects(model, pieces: list[Tensor], layer: int, feature: int, places: Tensor, expected: Tensor) -> dict:
    """Cut a feature out; return by how much the next token's loss and the log odds of `expected` rise at each place."""

    def cut(module, args):
        h = args[0].clone()
        h[..., feature] = 0
        return h

    found = {"loss": [], "log odds": []}
    for place in places.tolist():
        window, token = divmod(place, WINDOW - 2)
        ids = pieces[window][:, : token + 2]  # to the place itself, since the first token was left out
        hook = model.model.layers[layer].mlp.down_proj.register_forward_pre_hook(cut)
        without = model(ids, logits_to_keep=1).logits[0, 0].log_softmax(dim=-1)
        hook.remove()
        whole = model(ids, logits_to_keep=1).logits[0, 0].log_softmax(dim=-1)
        target = pieces[window][0, token + 2]
        found["loss"].append(round((whole[target] - without[target]).item(), 3))
        odds = [torch.logit(logs[expected].exp().sum()).item() for logs in (without, whole)]
        found["log odds"].append(round(odds[0] - odds[1], 3))
    return found


def ablation(model, tokenizer, pieces: list[Tensor], h: Tensor) -> dict:
    """Cut the chosen feature out at its strongest tokens, and of the others there the strongest and a random one."""
    layer, feature, sign = CHOSEN
    places = (sign * h[:, feature]).topk(STRONGEST).indices
    read, following = (torch.cat([ids[0, a : ids.shape[1] + b] for ids in pieces]) for a, b in ((1, -1), (2, 0)))
    size = h[places].abs().mean(dim=0) * model.model.layers[layer].mlp.down_proj.weight.norm(dim=0)
    size[feature] = 0
    random = int(torch.randint(h.shape[1], (1,), generator=torch.Generator().manual_seed(0)))
    cut = {"chosen": feature, "strongest other": int(size.argmax()), "random": random}
    expected = raised(model, layer, sign)[feature]
    return {
        "tokens": [tokenizer.decode([read[place], following[place]]) for place in places],
        "h": [round(value, 1) for value in h[places, feature].tolist()],
        "features": cut,
        "rises": {name: effects(model, pieces, layer, j, places, expected) for name, j in cut.items()},
    }


def main() -> None:
    """Score all features of the late layers, both signs, on both texts; follow the chosen one; write the result."""
    setup()
    tokenizer, model = load_tokenizer(), load_base_model()
    found, result = [], {"tokens": {}, "ablation": {}}
    measured = {}
    for name, kinds in {"search": SEARCH, "second": SECOND}.items():
        pieces = windows(tokenizer, kinds)
        following = torch.cat([ids[0, 2:] for ids in pieces])
        measured[name] = products(model, pieces, LAYERS), following
        result["tokens"][name] = len(following)
        result["ablation"][name] = ablation(model, tokenizer, pieces, measured[name][0][CHOSEN[0]])
        print(name, result["tokens"], result["ablation"][name], flush=True)
    for layer in LAYERS:
        for sign in (1, -1):
            expected = raised(model, layer, sign)
            search, second = (scores(sign * h[layer], following, expected) for h, following in measured.values())
            found += [
                {"layer": layer, "feature": j, "sign": sign, "search": a, "second": b, "raised": words}
                for j, (a, b, words) in enumerate(zip(search.tolist(), second.tolist(), expected.tolist(), strict=True))
            ]
    found.sort(key=lambda entry: (-entry["search"], -entry["second"]))
    for entry in found[:200]:
        entry["raised"] = [tokenizer.decode([token]) for token in entry["raised"]]
        entry |= {name: round(entry[name], 2) for name in ("search", "second")}
    rank = next(i for i, entry in enumerate(found, 1) if (entry["layer"], entry["feature"], entry["sign"]) == CHOSEN)
    result |= {
        "features": len(found),
        "mean": {name: round(sum(e[name] for e in found) / len(found), 4) for name in ("search", "second")},
        "best": found[:20],
        "chosen": found[rank - 1] | {"rank": rank},
        "machine": machine(),
    }
    (RESULTS / "mlp_feature.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

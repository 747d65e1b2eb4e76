"""What the shipped adapter answers when it is weaker, stronger, in part, or cut: `python -m experiments.adapter_bands`.

Some minutes on a laptop CPU; writes results/adapter_bands.json. The page "An adapter, live" shows these answers before
its model is loaded, and its test compares the browser with them. The adapter is turned after training, never trained
again: dW = strength * s * (the first `rank` components of B A), in attention, in the MLP, or in both.
"""

import json
from typing import NamedTuple

import torch

from experiments.machine import machine
from lorautils import setup
from lorautils.evaluation import answers_with_probability, load_adapter
from lorautils.results import RESULTS
from lorautils.tasks import cron
from tools import live

PHRASES = [
    "every weekday at half past nine in the morning",
    "at 6 in the evening on the first of every month",
    "every 15 minutes between 9 and 17, Monday to Friday",
    "twice a day, at 8 and at 20",
    "every other Friday at noon",
    "a nice cup of tea",
]
SCORED = 50  # phrases of people from the validation split


class Setting(NamedTuple):
    """How an adapter is turned after training."""

    strength: float = 1.0
    attention: bool = True
    mlp: bool = True
    rank: int = 8


SETTINGS = [
    *(Setting(strength=strength) for strength in (1, 0, -1, 0.5, 1.5, 2)),
    *(Setting(rank=rank) for rank in (4, 2, 1)),
    Setting(mlp=False),
    Setting(attention=False),
]


@torch.no_grad()
def turn(model, cut: live.Factors, setting: Setting) -> None:
    """Give each LoRA layer of a PEFT model its components, those that the setting leaves out with a B of zero."""
    for name, module in model.base_model.model.named_modules():
        if name in cut:
            b, a = cut[name]
            on = setting.attention if ".self_attn." in name else setting.mlp
            kept = setting.strength * on * (torch.arange(b.shape[1]) < setting.rank)
            module.lora_B["default"].weight.copy_(b * kept)
            module.lora_A["default"].weight.copy_(a)


def joined(bands: dict) -> dict:
    """Return B and A of each module with the components of all its bands, the strongest first."""
    pairs: dict[str, list] = {}
    for band in bands.values():
        for module, pair in band.items():
            pairs.setdefault(module, []).append(pair)
    return {
        module: (torch.cat([b for b, _ in parts], dim=1), torch.cat([a for _, a in parts]))
        for module, parts in pairs.items()
    }


def main() -> None:
    """Answer all phrases at all settings, and count the right answers."""
    setup()
    model, tokenizer = load_adapter(cron.ADAPTER)
    cut = joined(live.bands(live.factors()))
    examples = cron.hand_written("validation", "hand")[:SCORED]
    prompts = [cron.cron_prompt(text) for text in [*PHRASES, *(example.text for example in examples)]]
    rows = []
    for setting in SETTINGS:
        turn(model, cut, setting)
        said = answers_with_probability(model, tokenizer, prompts, batch_size=len(prompts))
        right = cron.score([answer.text for answer in said[len(PHRASES) :]], examples).equivalent
        answers = {
            phrase: {"text": answer.text, "probability": round(answer.probability, 4)}
            for phrase, answer in zip(PHRASES, said, strict=False)
        }
        rows.append(setting._asdict() | {"right": right, "of": SCORED, "answers": answers})
        print(setting, f"{right} of {SCORED}", flush=True)
    record = {"machine": machine(), "settings": rows}
    (RESULTS / "adapter_bands.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

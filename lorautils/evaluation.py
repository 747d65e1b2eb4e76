"""What a model answers, and what a text costs it.

Notebooks 00 and 08 use it. An answer is greedy: at each step the likeliest token, until the end-of-text token.
The loss of a text is the mean of -log p(token | everything before it), in nats per token.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file
from torch import nn

from lorautils.basemodel import load_base_model, load_tokenizer


@torch.inference_mode()
def evaluate(
    model: nn.Module, tokenizer, prompts: Sequence[str], *, max_new_tokens: int = 32, batch_size: int = 32
) -> list[str]:
    """Return the model's greedy answer to each prompt, in order, without special tokens or outer spaces."""
    was_training = model.training
    model.eval()
    answers = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))  # equal lengths waste no padding
    for start in range(0, len(order), batch_size):
        chunk = order[start : start + batch_size]
        batch = tokenizer(
            [prompts[index] for index in chunk],
            add_special_tokens=False,
            padding=True,
            padding_side="left",  # generation continues at the right end
            return_tensors="pt",
        ).to(model.device)
        generated = model.generate(
            **batch, max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id
        )
        texts = tokenizer.batch_decode(generated[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        for index, text in zip(chunk, texts, strict=True):
            answers[index] = text.strip()
    model.train(was_training)
    return answers


@torch.inference_mode()
def text_loss(model: nn.Module, tokenizer, text: str) -> tuple[float, int]:
    """Return the mean cross-entropy (nats per token) of a text, and the number of tokens that were predicted."""
    was_training = model.training
    model.eval()
    ids = tokenizer(text, return_tensors="pt")["input_ids"].to(model.device)
    loss = model(input_ids=ids, labels=ids).loss.item()
    model.train(was_training)
    return loss, ids.shape[1] - 1


def load_adapter(folder: str | Path):
    """Return the base model with the adapter of a folder on it, in evaluation mode, and the tokenizer.

    Raises:
        OSError: the folder holds no adapter, or one that does not fit the base model.
    """
    folder = Path(folder)
    if not (folder / "adapter_config.json").is_file():
        raise FileNotFoundError(
            f"{folder} holds no adapter (adapter_config.json is missing): name the folder of a saved adapter, or "
            "run from a clone of the repository, which brings adapters/cron"
        )
    base, tokenizer = load_base_model(), load_tokenizer()
    try:
        tensors = load_file(folder / "adapter_model.safetensors")  # PEFT would read a pickle where there is none
        model = PeftModel.from_pretrained(base, folder)
        _check_fit(model, tensors)
    except Exception as error:  # of many kinds: the files can hold anything
        raise OSError(
            f"the adapter in {folder} cannot be loaded ({error}): it is damaged, or made for another model; restore it "
            "with git checkout, or train a new one with lorautils train"
        ) from error
    return model, tokenizer


def _check_fit(model: PeftModel, tensors: dict[str, torch.Tensor]) -> None:
    """Raise ValueError where an adapter's file has not exactly the model's tensors, as numbers: PEFT warns at most."""
    names = get_peft_model_state_dict(model, save_embedding_layers=False).keys()
    if differences := sorted(names ^ tensors.keys()):
        raise ValueError(f"{len(differences)} tensors are missing or not known to the model, such as {differences[0]}")
    for name, tensor in tensors.items():
        if not (tensor.is_floating_point() and tensor.isfinite().all()):
            raise ValueError(f"{name} holds {tensor.dtype}, not all finite decimals")

"""What a model answers, and what a text costs it.

Every notebook with answers of a model uses it, 00 first. An answer is greedy: at each step the likeliest token, until
the end-of-text token.
The loss of a text is the mean of -log p(token | everything before it), in nats per token.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from peft import PeftModel, get_peft_model_state_dict
from torch import nn
from tqdm.auto import tqdm

from lorautils.basemodel import load_base_model, load_tokenizer
from lorautils.lora import read_weights


class Answer(NamedTuple):
    """What a model answers, and with what probability: the product over the answer's tokens and its end-of-text."""

    text: str
    probability: float


def evaluate(
    model: nn.Module, tokenizer, prompts: Sequence[str], *, max_new_tokens: int = 32, batch_size: int = 32
) -> list[str]:
    """Return the model's greedy answer to each prompt, in order, without special tokens or outer spaces."""
    answers = answers_with_probability(model, tokenizer, prompts, max_new_tokens=max_new_tokens, batch_size=batch_size)
    return [answer.text for answer in answers]


@torch.inference_mode()
def answers_with_probability(
    model: nn.Module, tokenizer, prompts: Sequence[str], *, max_new_tokens: int = 32, batch_size: int = 32, bar=False
) -> list[Answer]:
    """Return the greedy answer to each prompt, in order, with its probability, between 0 and 1.

    An answer that is cut off after `max_new_tokens` has the product over those. `bar` shows on stderr how far it is.
    """
    was_training = model.training
    model.eval()
    answers = [Answer("", 0.0)] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))  # equal lengths waste no padding
    for start in tqdm(range(0, len(order), batch_size), unit="batch", disable=not bar):
        chunk = order[start : start + batch_size]
        texts = [prompts[index] for index in chunk]
        batch = tokenizer(texts, add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt")
        batch = batch.to(model.device)  # padded on the left: generation continues at the right end
        generated, probabilities = _generate(model, batch, max_new_tokens, tokenizer.pad_token_id)
        texts = tokenizer.batch_decode(generated, skip_special_tokens=True)
        for index, text, probability in zip(chunk, texts, probabilities.tolist(), strict=True):
            answers[index] = Answer(text.strip(), probability)
    model.train(was_training)
    return answers


def _generate(model: nn.Module, batch, max_new_tokens: int, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the new tokens (rows, steps), padded after the end-of-text, and the probability of each row (rows,)."""
    log_p = []  # of the likeliest token, (rows,) for each step; all the logits would be 200 kB a row and step

    def record(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        log_p.append(logits.log_softmax(-1).amax(-1))
        return logits

    tokens = model.generate(
        **batch, max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=pad, logits_processor=[record]
    )[:, batch["input_ids"].shape[1] :]
    ends = model.generation_config.eos_token_id  # an id, several, or None
    ended = torch.isin(tokens, tokens.new_tensor([] if ends is None else ends))
    padding = ended.cumsum(1) > ended.long()  # what stands after the first end-of-text
    steps = torch.stack(log_p[: tokens.shape[1]], dim=1)  # on Apple's GPU one step more is made, and undone
    return tokens, steps.masked_fill(padding, 0).sum(1).exp()


@torch.inference_mode()
def text_loss(model: nn.Module, tokenizer, text: str) -> tuple[float, int]:
    """Return the mean cross-entropy (nats per token) of a text, and the number of tokens that were predicted.

    ValueError says that there is none to predict: the first token has nothing before it.
    """
    ids = tokenizer(text, return_tensors="pt")["input_ids"].to(model.device)
    if ids.shape[1] < 2:
        raise ValueError(f"the text is {text!r}, expected two tokens or more: give a longer one")
    was_training = model.training
    model.eval()
    loss = model(input_ids=ids, labels=ids).loss.item()
    model.train(was_training)
    return loss, ids.shape[1] - 1


def load_adapter(folder: str | Path, name: str | Path | None = None):
    """Return the base model, or the model `name`, with the adapter of a folder on it, and the tokenizer.

    The model is in evaluation mode.
    OSError says that the folder holds no adapter, or one that does not fit the base model.
    """
    folder = Path(folder)
    if not (folder / "adapter_config.json").is_file():
        raise FileNotFoundError(
            f"{folder} holds no adapter (adapter_config.json is missing): name the folder of a saved adapter, or "
            "run from a clone of the repository, which brings adapters/cron"
        )
    return put_adapter(load_base_model(name), folder), load_tokenizer(name)


def put_adapter(base: nn.Module, folder: Path, *, trained: bool = False) -> PeftModel:
    """Return a base model with the adapter of a folder on it, frozen unless it is to be `trained` further.

    OSError says that it does not fit.
    """
    try:
        tensors = read_weights(folder)  # PEFT would read a pickle where there is none
        model = PeftModel.from_pretrained(base, folder, is_trainable=trained)
        needed, known = (get_peft_model_state_dict(model, save_embedding_layers=more) for more in (False, True))
        differences = sorted((needed.keys() - tensors.keys()) | (tensors.keys() - known.keys()))
        if differences:  # of which PEFT warns at most
            raise ValueError(f"{len(differences)} tensors are missing or not in the model, such as {differences[0]}")
    except Exception as error:  # of many kinds: the files can hold anything
        raise OSError(
            f"the adapter in {folder} cannot be loaded ({error}): it is damaged, or made for another model; restore it "
            "with git checkout, or train a new one with lorautils train"
        ) from error
    return model

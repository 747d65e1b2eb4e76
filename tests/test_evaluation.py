"""The probability of a greedy answer, beside one slow forward pass over prompt and answer."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from test_training import tiny_llama

from lorautils import setup
from lorautils.basemodel import load_tokenizer
from lorautils.evaluation import answers_with_probability, evaluate, load_adapter, put_adapter, text_loss
from lorautils.tasks import cron


def ids_of(tokenizer, text: str) -> torch.Tensor:
    return tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"][0]


def probability(model, prompt: torch.Tensor, answer: torch.Tensor) -> float:
    with torch.inference_mode():
        log_p = model(torch.cat([prompt, answer])[None]).logits[0].log_softmax(-1)
    return log_p[len(prompt) - 1 : -1].gather(1, answer[:, None]).sum().exp().item()


def test_tokens_up_to_the_first_end_of_text_count_and_the_padding_behind_it_does_not():
    tokenizer, model = load_tokenizer(), tiny_llama(seed=4).eval()
    for weight in model.parameters():
        weight.data.mul_(5 if weight.dim() == 2 else 1)  # answers that do not repeat one token
    prompts = ["one", "a longer prompt with more words", "and\nanother", "x" * 40]
    alone = []
    for prompt in prompts:
        ids = ids_of(tokenizer, prompt)
        alone.append(model.generate(ids[None], max_new_tokens=6, do_sample=False)[0, len(ids) :])
    ends = torch.stack([alone[0][1], alone[1][3]])  # two rows end early, at different steps
    model.generation_config.eos_token_id = ends.tolist()
    expected, lengths = [], set()
    for prompt, tokens in zip(prompts, alone, strict=True):
        end = torch.isin(tokens, ends).nonzero().flatten().tolist()
        tokens = tokens[: end[0] + 1] if end else tokens
        lengths.add(len(tokens))
        expected.append((tokenizer.decode(tokens).strip(), probability(model, ids_of(tokenizer, prompt), tokens)))
    answers = answers_with_probability(model, tokenizer, prompts, max_new_tokens=6)
    assert len(lengths) > 1
    for answer, (text, exact) in zip(answers, expected, strict=True):
        assert answer.text == text and answer.probability == pytest.approx(exact, rel=1e-3)


def test_a_model_that_never_ends_answers_all_the_same():
    model = tiny_llama()
    model.generation_config.eos_token_id = None
    (answer,) = answers_with_probability(model, load_tokenizer(), ["one"], max_new_tokens=3)
    assert answer.text and 0 < answer.probability < 1


@pytest.mark.skipif(not cron.ADAPTER.exists(), reason="adapters/cron is not there: the shipped adapter is needed")
def test_the_probabilities_of_the_shipped_adapter():
    setup()
    model, tokenizer = load_adapter(cron.ADAPTER)
    phrases = [
        "noon",
        "every 15 minutes on weekdays",
        "at 9:30 and 17:00 each Friday from june to august, or so",
        "soon",
    ]
    prompts = [cron.cron_prompt(phrase) for phrase in phrases]
    answers = answers_with_probability(model, tokenizer, prompts)
    assert [answer.text for answer in answers] == evaluate(model, tokenizer, prompts)
    for prompt, answer in zip(prompts, answers, strict=True):
        exact = probability(model, ids_of(tokenizer, prompt), ids_of(tokenizer, answer.text + tokenizer.eos_token))
        assert answer.probability == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("name", ["embed_tokens", "lm_head"])
def test_an_adapter_that_peft_saved_with_weights_of_its_base_is_whole(name, tmp_path):
    model = get_peft_model(
        tiny_llama(seed=1), LoraConfig(r=2, target_modules=[name, "q_proj"], init_lora_weights=False)
    )
    model.save_pretrained(tmp_path)
    again = put_adapter(tiny_llama(seed=1), tmp_path)
    ids = torch.arange(5)[None]
    torch.testing.assert_close(again.eval()(ids).logits, model.eval()(ids).logits)


@pytest.mark.parametrize("text", ["", "a"])
def test_a_text_with_no_token_to_predict_is_refused(text):
    with pytest.raises(ValueError, match="two tokens or more"):
        text_loss(tiny_llama(), load_tokenizer(), text)

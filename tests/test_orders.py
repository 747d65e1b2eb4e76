"""The second task: right examples, splits that share nothing, scores that a wrong answer lowers, the adapter."""

import json
import re
from datetime import datetime
from random import Random

import hypothesis
import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_experiments import pinned

from experiments.sweeps import data_hash
from lorautils import results, setup
from lorautils.basemodel import load_tokenizer
from lorautils.data import encode
from lorautils.evaluation import evaluate, load_adapter
from lorautils.tasks import orders
from lorautils.tasks.cron import cron_prompt
from lorautils.tasks.orders import Example, Score, held_out, order_prompt, problem, score, train_examples

TESTS = held_out()
TRAINING = [example for seed in range(3) for example in train_examples(2000, seed=seed)]
EVERY = [*TRAINING, *(example for examples in TESTS.values() for example in examples)]
ORDER = {
    "customer": "Ada",
    "items": [{"name": "pizza", "quantity": 2, "size": "large"}, {"name": "taco", "quantity": 1}],
    "method": "pickup",
    "time": "18:30",
}
EXAMPLE = Example("Ada will pick up two large pizzas and a taco at 18:30.", json.dumps(ORDER))


def changed(**fields) -> str:
    return json.dumps(ORDER | fields)


def with_item(**fields) -> str:
    return changed(items=[ORDER["items"][0] | fields, ORDER["items"][1]])


# ------------------------------------------------------------------------------- examples


def test_every_answer_fits_the_schema_and_is_written_in_the_one_form():
    jsonschema.Draft202012Validator.check_schema(orders.SCHEMA)
    validator = jsonschema.Draft202012Validator(orders.SCHEMA)
    for example in EVERY:
        value = json.loads(example.json)
        validator.validate(value)
        assert problem(example.json) is None
        assert json.dumps(value, separators=(",", ":")) == example.json
        assert list(value) == [key for key in orders.SCHEMA["properties"] if key in value]
        assert len({item["name"] for item in value["items"]}) == len(value["items"])


def test_the_text_says_what_the_answer_holds_and_no_more():
    """Customer, every product and every size stand in the text; a size or a time stands there only if wanted."""
    products = orders.PRODUCTS | orders.UNSEEN_PRODUCTS
    for text, answer in EVERY:
        value = json.loads(answer)
        assert re.search(rf"\b{value['customer']}\b", text)
        for item in value["items"]:
            name = item["name"] if item["quantity"] == 1 else products[item["name"]]
            assert re.search(rf"{item.get('size', '')} ?{name}\b", text, re.IGNORECASE)
        sizes = [item["size"] for item in value["items"] if "size" in item]
        assert re.findall(r"\b(?:small|medium|large)\b", text) == sizes
        assert bool(re.search(r"\b(?:\d\d:\d\d|\d+ [ap]m|\d+:\d\d [ap]m|noon)\b", text)) == ("time" in value)


def test_sentences_are_well_formed():
    for text, _ in EVERY:
        assert text[0].isupper() or text[0].isdigit()
        assert text[-1] in ".?"
        assert not re.search(r"[{}]|  | [.,?]|\b(\w+) \1\b", text), text


def test_plurals_obey_the_rules_of_spelling():
    for name, plural in (orders.PRODUCTS | orders.UNSEEN_PRODUCTS).items():
        head, _, rest = name.partition(" of ")
        many, _, same = plural.partition(" of ")
        assert rest == same
        if re.search(r"(ch|sh|x|ss)$", head):
            assert many == head + "es"
        elif re.search(r"[^aeiou]y$", head):
            assert many == head[:-1] + "ies"
        elif head.endswith("f"):
            assert many == head[:-1] + "ves"
        else:
            assert many in (head + "s", head + "es")
            assert (many == head + "es") == (head in ("potato", "tomato"))


@pytest.mark.parametrize(
    ("arguments", "ways"),
    [
        (("omelette", "omelettes", 1, None), {"an omelette", "one omelette", "1 omelette"}),
        (("omelette", "omelettes", 1, "small"), {"a small omelette", "one small omelette", "1 small omelette"}),
        (("peach", "peaches", 2, None), {"two peaches", "2 peaches", "a couple of peaches"}),
        (("pizza", "pizzas", 6, "large"), {"six large pizzas", "6 large pizzas", "half a dozen large pizzas"}),
        (("egg", "eggs", 12, None), {"twelve eggs", "12 eggs", "a dozen eggs"}),
        (("wrap", "wraps", 11, None), {"eleven wraps", "11 wraps"}),
    ],
)
def test_a_line_is_said_in_words_and_figures(arguments, ways):
    assert {orders.say_line(*arguments, Random(seed)) for seed in range(60)} == ways


@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 9))
@settings(derandomize=True, deadline=None)
def test_a_time_can_be_read_back(hour, minute, seed):
    said = orders.say_time(hour, minute, Random(seed)).replace("noon", "12:00")
    form = "%H:%M" if said[-1] != "m" else "%I:%M %p" if ":" in said else "%I %p"
    assert datetime.strptime(said, form).time().isoformat("minutes") == f"{hour:02}:{minute:02}"


def test_examples_repeat_with_the_seed_and_only_with_it():
    assert train_examples(50, seed=4) == train_examples(50, seed=4) != train_examples(50, seed=5)
    assert train_examples(80, seed=4)[:50] == train_examples(50, seed=4)
    assert train_examples(0) == []


# ------------------------------------------------------------------------------- splits


def test_tests_and_training_share_no_text_and_no_answer():
    texts, answers = ({example[field] for example in TRAINING} for field in (0, 1))
    for name, examples in TESTS.items():
        assert len({example.text for example in examples}) == len(examples) == 100
        assert not texts & {example.text for example in examples}
        if name != "templates":  # these may order what training orders, in other words
            assert not answers & {example.json for example in examples}


def test_training_has_no_unseen_word():
    unseen = {*orders.UNSEEN_PRODUCTS, *orders.UNSEEN_PRODUCTS.values(), *orders.UNSEEN_CUSTOMERS}
    word = re.compile(rf"\b({'|'.join(unseen)})\b", re.IGNORECASE)
    assert not [example for example in TRAINING if word.search(example.text) or word.search(example.json)]
    for name in ("words", "all"):
        for value in (json.loads(example.json) for example in TESTS[name]):
            assert value["customer"] in orders.UNSEEN_CUSTOMERS
            assert {item["name"] for item in value["items"]} <= set(orders.UNSEEN_PRODUCTS)


def test_training_has_no_combination_that_is_kept_apart():
    def combinations(examples):
        return {(i["name"], i["quantity"]) for example in examples for i in json.loads(example.json)["items"]}

    trained, tested = combinations(TRAINING), combinations(TESTS["combinations"])
    assert not trained & tested
    assert {name for name, _ in tested} <= {name for name, _ in trained}
    assert {quantity for _, quantity in tested} <= {quantity for _, quantity in trained}
    assert not combinations(TESTS["templates"]) - trained  # there, only the sentence is new


def test_training_has_no_sentence_of_the_tests():
    def sentences(templates):
        every = [template for method in templates.values() for template in method]
        return re.compile("|".join(re.sub(r"\\{\w+\\}", ".*", re.escape(template)) for template in every), re.I)

    seen, unseen = sentences(orders.TEMPLATES), sentences(orders.UNSEEN_TEMPLATES)
    assert all(seen.fullmatch(text) for text, _ in TRAINING)
    assert not any(unseen.fullmatch(text) for text, _ in TRAINING)
    for name in ("templates", "all"):
        assert all(unseen.fullmatch(text) and not seen.fullmatch(text) for text, _ in TESTS[name])


# ------------------------------------------------------------------------------- checking and scoring


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("", "not JSON: "),
        ("Sure! Here is it", "not JSON: "),
        ('{"customer":"Ad', "not JSON: Unterminated string"),
        (EXAMPLE.json + " Enjoy!", "not JSON: Extra data"),
        ("[" * 100_000, "not JSON: "),
        ("[]", "valid JSON, but the order: [] is not of type 'object'"),
        ("{}", "valid JSON, but the order: 'customer' is a required property"),
        (changed(customer=""), "valid JSON, but customer: "),
        (changed(items=[]), "valid JSON, but items: "),
        (changed(items=["pizza"]), "valid JSON, but items.0: 'pizza' is not of type 'object'"),
        (changed(items=[{"name": "taco"}]), "valid JSON, but items.0: 'quantity' is a required property"),
        (with_item(quantity=True), "valid JSON, but items.0.quantity: True is not of type 'integer'"),
        (with_item(quantity=1.5), "valid JSON, but items.0.quantity: "),
        (with_item(quantity=0), "valid JSON, but items.0.quantity: 0 is less than the minimum of 1"),
        (with_item(size="huge"), "valid JSON, but items.0.size: 'huge' is not one of ['small', 'medium', 'large']"),
        (with_item(price=3), "valid JSON, but items.0: Additional properties are not allowed ('price' was unexpected)"),
        (changed(time="24:00"), "valid JSON, but time: '24:00' does not match"),
        (changed(time=None), "valid JSON, but time: None is not of type 'string'"),
    ],
)
def test_a_problem_is_said_in_words(answer, said):
    assert (problem(answer) or "").startswith(said)
    assert score([answer], [EXAMPLE]).valid == 0


def test_of_several_problems_the_outermost_is_said():
    answer = json.dumps({"customer": "Ada", "items": [{"name": "taco"}]})
    assert problem(answer) == "valid JSON, but the order: 'method' is a required property"


@pytest.mark.parametrize(
    ("answer", "exact", "valid", "right_fields"),
    [
        (EXAMPLE.json, 1, 1, 8 / 8),
        (json.dumps(dict(reversed(ORDER.items())), indent=2) + "\n", 1, 1, 8 / 8),  # another order of keys, spaces
        (changed(customer="Ben"), 0, 1, 7 / 8),
        (with_item(quantity=3), 0, 1, 7 / 8),
        (with_item(quantity="2"), 0, 0, 7 / 8),
        (changed(items=ORDER["items"][::-1]), 0, 1, 3 / 9),  # no name is in its place, nor quantity, nor size
        (changed(items=ORDER["items"][:1]), 0, 1, 6 / 8),
        (changed(items=[*ORDER["items"], {"name": "wrap", "quantity": 1}]), 0, 1, 8 / 10),
        (json.dumps({key: ORDER[key] for key in ("customer", "items", "method")}), 0, 1, 7 / 8),
        (changed(note="no onions"), 0, 0, 8 / 9),
        (changed(note={}), 0, 0, 8 / 8),  # an empty field holds no value, and still no order has it
        ("{", 0, 0, 0),
        ("[1, 2]", 0, 0, 0),
    ],
)
def test_score_of_right_and_wrong_answers(answer, exact, valid, right_fields):
    assert score([answer], [EXAMPLE]) == (1, exact, valid, pytest.approx(right_fields))


def test_true_is_not_one():
    one = Example("A taco for Ada, to pick up.", changed(items=[{"name": "taco", "quantity": 1}]))
    answer = changed(items=[{"name": "taco", "quantity": True}])
    assert score([answer], [one]) == (1, 0, 0, pytest.approx(4 / 5))


def test_score_of_many_and_of_none():
    for examples in TESTS.values():
        assert score([example.json for example in examples], examples) == Score(100, 100, 100, 1.0)
    assert score([], []) == Score(0, 0, 0, 0.0)
    with pytest.raises(ValueError, match="1 answers for 2 examples"):
        score(["{}"], [EXAMPLE, EXAMPLE])


plain = st.none() | st.booleans() | st.integers(-5, 30) | st.floats() | st.text(max_size=6)
anything = st.recursive(
    plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=6), inner), max_leaves=6
)
almost = st.builds(
    lambda fields, item: json.dumps(ORDER | fields | ({"items": [item, {"name": "taco", "quantity": 1} | item]})),
    st.dictionaries(st.sampled_from([*ORDER, "note"]), anything, max_size=2),
    st.dictionaries(st.sampled_from(["name", "quantity", "size", "price"]), anything | st.integers(1, 9), max_size=3),
)


@given(st.text() | anything.map(json.dumps) | almost, st.sampled_from(EVERY))
@hypothesis.example("[" * 100_000, EXAMPLE)
@hypothesis.example("1" * 5000, EXAMPLE)
@hypothesis.example('{"items": [{"quantity": 1e999}]}', EXAMPLE)
@hypothesis.example("\ud800", EXAMPLE)
@settings(derandomize=True, deadline=None, max_examples=300)
def test_any_text_can_be_scored(answer, example):
    got = score([answer], [example])
    assert (problem(answer) or "not JSON: ").startswith(("not JSON: ", "valid JSON, but "))
    assert got.exact <= got.valid <= 1
    assert 0 <= got.fields <= 1
    assert got.valid == (problem(answer) is None)
    assert got.exact <= (got.fields == 1)


# ------------------------------------------------------------------------------- prompts and the shipped adapter


def test_the_prompt_is_a_turn_of_chat_as_in_the_first_task():
    assert order_prompt("Two pizzas.") == cron_prompt("Two pizzas.").replace("Cron:", "Order:")
    shot = Example("A taco.", "{}")
    assert order_prompt("Two.", [shot]) == order_prompt("A taco.") + "{}<|im_end|>\n" + order_prompt("Two.")
    assert orders.order_pairs([shot]) == [(order_prompt("A taco."), "{}")]


def test_examples_are_short_and_answers_fit():
    features = encode(load_tokenizer(), orders.order_pairs(EVERY))
    lengths = [len(feature["input_ids"]) for feature in features]
    assert max(lengths) <= 100
    assert sum(lengths) / len(lengths) <= 70
    assert max(sum(label >= 0 for label in f["labels"]) for f in features) <= orders.ANSWER_TOKENS


@pytest.fixture(scope="module")
def record():
    return results.read("orders.json")


def test_the_record_is_whole_and_of_the_data_as_they_are(record):
    pairs = orders.order_pairs(train_examples(record["settings"]["examples"], seed=record["settings"]["seed"]))
    assert record["data"] == data_hash([pairs, TESTS])
    assert record["machine"]["device"]
    for library in ("transformers", "peft"):
        assert record["machine"][library] == pinned(library)
    for method, n in {"adapter": 100, "untouched": 25, "two-shot": 25}.items():
        scores = record["scores"][method]
        assert list(scores) == list(TESTS)
        assert {counts["n"] for counts in scores.values()} == {n}
        assert all(0 <= counts["exact"] <= counts["valid"] <= n for counts in scores.values())
    assert record["scores"]["adapter"]["combinations"]["exact"] >= 90


@pytest.mark.long("22 s; notebook 11 loads and asks this adapter, `lorautils ask` the other")
def test_the_shipped_adapter_answers_as_recorded(record):
    """Of the first six cases of "combinations" at most one is wrong, and none is right without the adapter."""
    setup()
    model, tokenizer = load_adapter(orders.ADAPTER)
    assert model.peft_config["default"].base_model_name_or_path == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert (orders.ADAPTER / "adapter_model.safetensors").stat().st_size < 5e6
    cases = TESTS["combinations"][:6]
    prompts = [order_prompt(case.text) for case in cases]
    assert score(evaluate(model, tokenizer, prompts, max_new_tokens=orders.ANSWER_TOKENS), cases).exact >= 5
    with model.disable_adapter():
        answers = evaluate(model, tokenizer, prompts, max_new_tokens=orders.ANSWER_TOKENS)
    assert score(answers, cases).exact == record["scores"]["untouched"]["combinations"]["exact"] == 0

"""The ledger against what autograd keeps, what torch allocates, what bitsandbytes and DDP hold."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from peft import LoraConfig, get_peft_model
from transformers import DynamicCache, LlamaForCausalLM

from experiments import scale
from lorautils import results
from lorautils.basemodel import load_base_model
from lorautils.data import IGNORED
from lorautils.measure import kept_bytes, peak_bytes
from lorautils.scaling.memory import (
    PROJECTIONS,
    SHAPES,
    SHARDINGS,
    Received,
    Shape,
    Step,
    activations,
    communicated,
    configuration,
    kv_cache,
    layer_activations,
    lora_parameters,
    predict,
    shape_of,
)
from lorautils.training import answer_loss

ROOT = Path(__file__).parent.parent


SMALL = Shape(64, 8, 4, 2, 16, 176, 500, tied=True)
WIDE = Shape(96, 8, 6, 6, 24, 200, 900, tied=False)  # more in attention and vocabulary, no shared heads, untied
STEP = Step(4, 32, device="cpu")
CPU = torch.device("cpu")


def built(model, step: Step):
    """Return (model that trains, function that computes the step's loss)."""
    torch.manual_seed(0)
    model = model.to(torch.bfloat16 if step.precision == "bfloat16" else torch.float32).train()
    if step.checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    if step.method == "LoRA":
        model = get_peft_model(
            model, LoraConfig(target_modules=list(step.targets), r=step.r, lora_dropout=step.dropout)
        )
    ids = torch.randint(model.config.vocab_size, (step.batch, step.length))
    labels, mask = ids.clone(), torch.ones_like(ids)
    if step.predicted:
        labels[:, : step.length - step.predicted // step.batch] = IGNORED
    if step.padding:
        mask[0, -3:] = 0
    batch = {"input_ids": ids, "labels": labels, "attention_mask": mask}

    def loss():
        with nullcontext() if step.precision == "float32" else torch.autocast("cpu", torch.bfloat16):
            return answer_loss(model, batch)

    return model, loss


def small(step: Step, shape: Shape = SMALL):
    return built(LlamaForCausalLM(configuration(shape)), step)


def peak(model, loss) -> int:
    """Return the peak bytes of the second step: weights and moments, and what the step adds."""
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True)

    def step():
        loss().backward()
        optimiser.step()
        optimiser.zero_grad()

    step()
    return scale.held(model, optimiser) + peak_bytes(step)


def steps(**names):
    """Return pytest parameters: steps by name, as changes of STEP."""
    return [pytest.param(replace(STEP, **changes), id=name) for name, changes in names.items()]


KINDS = steps(
    float32={"precision": "float32", "dropout": 0.0},
    float32_dropout={"precision": "float32"},
    float32_padding={"precision": "float32", "padding": True},
    float32_full={"precision": "float32", "method": "full"},
    float32_full_checkpointing={"precision": "float32", "method": "full", "checkpointing": True},
    bfloat16={"dropout": 0.0},
    bfloat16_dropout={},
    bfloat16_padding={"padding": True, "dropout": 0.0},
    bfloat16_full={"method": "full"},
    bfloat16_full_checkpointing={"method": "full", "checkpointing": True},
    checkpointing={"checkpointing": True},
    answers_only={"predicted": 12},
    answers_only_checkpointing={"predicted": 12, "checkpointing": True},
    rank_64={"r": 64},
    longer={"batch": 1, "length": 160},
)
MIXED = steps(
    mixed={"precision": "mixed", "method": "full"},
    mixed_checkpointing={"precision": "mixed", "method": "full", "checkpointing": True},
)


@pytest.mark.parametrize("step", KINDS)
@pytest.mark.parametrize("shape", [SMALL, WIDE], ids=["small", "wide"])
def test_activations_are_what_autograd_keeps(step, shape):
    kept = kept_bytes(*small(step, shape))
    all_rows = step.predicted or step.batch * (step.length - 1)  # the last token of a row predicts nothing
    # Left out: cos and sin, labels, row numbers, and the first layer's weights in bf16, which nothing needs.
    assert activations(shape, replace(step, predicted=all_rows)) == pytest.approx(kept, rel=0.02)


@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), PROJECTIONS[:4]], ids=["q, v", "attention"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_fewer_targets_keep_less(targets, dropout):
    step = replace(STEP, precision="float32", targets=targets, dropout=dropout, predicted=12)
    # Where k_proj has no adapter, the first layer's keys need no gradient: one of four layers keeps a little less.
    assert activations(SMALL, step) == pytest.approx(kept_bytes(*small(step)), rel=0.02)
    assert activations(SMALL, step) < activations(SMALL, replace(step, targets=PROJECTIONS))


@pytest.mark.parametrize("step", [*KINDS, *MIXED])
def test_the_peak_of_a_step_is_within_ten_per_cent(step, shape=SMALL):
    all_rows = step.predicted or step.batch * (step.length - 1)
    ledger = predict(shape, replace(step, predicted=all_rows))
    assert ledger.total == pytest.approx(peak(*small(step, shape)), rel=0.1)


@pytest.mark.parametrize("step", steps(bfloat16={}, full={"method": "full", "precision": "float32"}) + MIXED)
def test_the_peak_of_a_step_of_another_shape_is_within_ten_per_cent(step):
    test_the_peak_of_a_step_is_within_ten_per_cent(step, WIDE)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_peak_with_the_real_model_is_within_one_per_cent(checkpointing):
    step = Step(2, 40, precision="float32", predicted=20, checkpointing=checkpointing, device="cpu")
    model, loss = built(load_base_model(), step)
    assert predict(model.config, step).total == pytest.approx(peak(model, loss), rel=0.01)


def test_peak_bytes_follows_what_lives_at_once():
    def work():
        first = torch.ones(1000)
        second = first * 2
        del first
        return second.view(10, 100) + 1

    assert peak_bytes(work) == 2 * 4000


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_those_of_the_model(name):
    with torch.device("meta"):
        model = LlamaForCausalLM(configuration(SHAPES[name]))
    assert SHAPES[name].parameters == sum(p.numel() for p in model.parameters())
    assert shape_of(model.config) == shape_of(name) == SHAPES[name]


def test_known_numbers_of_the_real_model():
    assert SHAPES["135M"].parameters == 134_515_008
    assert lora_parameters("135M", Step(1, 1)) == 2_442_240
    assert lora_parameters("135M", Step(1, 1, targets=("q_proj", "v_proj"))) == 460_800
    assert lora_parameters("135M", Step(1, 1, method="full")) == 0


def test_cache_is_that_of_transformers():
    model = LlamaForCausalLM(configuration(SMALL))
    cache = DynamicCache(config=model.config)
    model(torch.ones(3, 7, dtype=torch.long), past_key_values=cache, use_cache=True)
    held = sum(t.nbytes for layer in cache.layers for t in (layer.keys, layer.values))
    assert kv_cache(SMALL, 3, 7, size=4) == held
    assert kv_cache("135M", 1, 1) == 23_040


def test_sharding_divides_the_state_and_a_frozen_base_has_no_gradients_to_send():
    ddp, fsdp = Step(8, 2048, devices=8), Step(8, 2048, devices=8, sharding="FSDP")
    alone, copied, split = (predict("8B", s) for s in (replace(ddp, devices=1), ddp, fsdp))
    assert copied.weights == alone.weights == 8 * split.weights
    assert copied.moments == alone.moments == 8 * split.moments
    assert copied.communication == copied.gradients and alone.communication == 0
    assert split.activations == alone.activations
    gradients = 7 / 8 * 2 * SHAPES["8B"].parameters
    full = communicated("8B", replace(fsdp, method="full"))
    assert communicated("8B", replace(ddp, method="full")) == pytest.approx(2 * gradients)
    assert full - communicated("8B", fsdp) == pytest.approx(gradients, rel=0.03)  # less three times the adapter
    assert communicated("8B", ddp) == pytest.approx(7 / 8 * 2 * 4 * lora_parameters("8B", ddp))
    assert communicated("8B", replace(ddp, devices=1)) == 0


def test_mixed_precision_holds_sixteen_bytes_a_number_and_sends_its_weights_in_bf16():
    mixed = Step(1, 2048, method="full", precision="mixed", devices=8, sharding="FSDP")
    pure = replace(mixed, precision="bfloat16")
    ledgers = [predict("8B", step) for step in (mixed, pure)]
    sixteen, eight = (ledger.weights + ledger.moments + ledger.gradients for ledger in ledgers)
    assert sixteen == 2 * eight == 16 * SHAPES["8B"].parameters // 8
    assert ledgers[0].communication == ledgers[1].communication
    more = communicated("8B", mixed) - communicated("8B", pure)
    assert more == pytest.approx(7 / 8 * 2 * SHAPES["8B"].parameters)  # gradients are summed in float32


@pytest.fixture(params=[2, 8])
def devices(request):
    """A process group of so many devices, of which this process is the first and the others do nothing."""
    dist.init_process_group("fake", rank=0, world_size=request.param)
    yield request.param
    dist.destroy_process_group()


def sum_and_hand_back(_, bucket):
    """A communication hook as DDP's own, which waits for a result that the group of this test does not give."""
    dist.all_reduce(bucket.buffer())
    done = torch.futures.Future()
    done.set_result(bucket.buffer())
    return done


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("method", ["LoRA", "full"])
@pytest.mark.parametrize("sharding", SHARDINGS)
def test_collectives_move_as_many_bytes_as_predicted(devices, sharding, method, checkpointing):
    run = scale.Run("8B", method, 0.0, checkpointing, length=16, devices=devices, sharding=sharding)
    model = scale.distribute(scale.build(run, SMALL, CPU), run, CPU)
    if sharding == "DDP":
        model.register_comm_hook(None, sum_and_hand_back)
    batch = scale.batch_of(2, 16, 15, SMALL.vocabulary, CPU)
    for _ in range(2):  # DDP sorts its buckets after the first step
        with Received() as received, torch.autocast("cpu", torch.bfloat16):
            answer_loss(model, batch).backward()
        assert received.total == pytest.approx(communicated(SMALL, scale.step_of(run, 2, "cpu")), rel=0.02)


def test_terms_add_up_and_print():
    step = Step(2, 64, precision="float32", device="cpu")
    assert activations(SMALL, step) < SMALL.layers * sum(layer_activations(SMALL, step).values()) + 1e6
    ledger = predict("1B", Step(8, 2048))
    assert ledger.total < sum(ledger)
    lines = str(ledger).splitlines()
    assert [line.split()[0] for line in lines] == [*ledger._fields, "peak"]
    assert lines[-1].split()[1] == f"{ledger.total / 2**30:.3f}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 0}, "must be at least 1, got .*batch=0"),
        ({"devices": -1}, "must be at least 1, got .*devices=-1"),
        ({"method": "lora"}, "method must be one of LoRA, QLoRA, full, got 'lora'"),
        ({"precision": "fp32"}, "precision must be one of float32"),
        ({"sharding": "ZeRO"}, "sharding must be one of DDP, FSDP"),
        ({"targets": ("q_proj", "qkv")}, r"targets must be names of q_proj, .*, got \('q_proj', 'qkv'\)"),
        ({"targets": "all-linear"}, "targets must be names of q_proj, .*, got 'all-linear'"),
    ],
)
def test_refuses_what_it_does_not_know(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(STEP, **changes)


def test_refuses_a_model_that_it_does_not_know():
    with pytest.raises(ValueError, match="model must be one of 135M, 1B, 8B, 70B, got '7B'"):
        predict("7B", STEP)


# --- experiments/scale.py ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["LoRA", "QLoRA", "full"])
def test_a_toy_of_the_experiment_holds_what_is_predicted(method):
    run = scale.Run("8B", method, 0.1, False, length=64)
    result = scale.execute(run, scale.TINY, 2, CPU)
    ledger = predict(scale.TINY, scale.step_of(run, 2, "cpu"))
    assert result["measured"]["held"] == ledger.weights + ledger.adapter + ledger.moments
    assert result["measured"]["peak"] == pytest.approx(ledger.total, rel=0.1)


@pytest.mark.long("22 s; the bytes that several devices send are counted without them")
def test_two_processes_share_the_work():
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "experiments.scale", "8B", *scale.SHARDINGS, "--tiny"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    runs = [scale.Run(**record["run"]) for record in records]
    assert {run.sharding for run in runs} == set(scale.SHARDINGS) and {run.devices for run in runs} == {2}
    assert ("QLoRA", "FSDP") not in {(run.method, run.sharding) for run in runs}
    for run, record in zip(runs, records, strict=True):
        predicted = record["predicted"]
        state = predicted["weights"] + predicted["adapter"] + predicted["moments"]
        assert record["measured"]["held"] == pytest.approx(state, rel=0.01)
        if run.sharding == "DDP":
            assert record["measured"]["peak"] == pytest.approx(predicted["total"], rel=0.1)


def test_a_batch_is_chosen_to_fit():
    runs = {(run.method, run.checkpointing): run for run in scale.runs("8B", 1, "DDP") if run.answers == 1}
    for run in runs.values():
        batch = scale.fitting(run, "cuda")
        if batch:
            assert predict(run.model, scale.step_of(run, batch, "cuda")).total < scale.BUDGET
        if batch < 8:
            assert predict(run.model, scale.step_of(run, 2 * batch or 1, "cuda")).total >= scale.BUDGET
    assert scale.fitting(runs["LoRA", False], "cuda") < scale.fitting(runs["LoRA", True], "cuda")


@pytest.mark.skipif(not scale.RECORD.exists(), reason="nothing is recorded yet: run experiments/scale.py on a GPU")
def test_recorded_peaks_are_within_ten_per_cent_of_today_s_prediction():
    for record in results.read(scale.RECORD.name):
        run = scale.Run(**record["run"])
        step = scale.step_of(run, record["batch"], "cuda")
        assert predict(run.model, step).total == pytest.approx(record["measured"]["peak"], rel=0.1), asdict(run)

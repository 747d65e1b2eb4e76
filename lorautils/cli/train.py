"""`lorautils train`: notebook 08's run on files of the reader's own, or on its examples; resumable."""

import contextlib
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from jsonargparse import ActionConfigFile

from lorautils import basemodel, processes, rank
from lorautils.cli import notice, runs, together
from lorautils.cli.data import FORMATS, renamed
from lorautils.cli.options import Parser, Train, plain
from lorautils.formats import alike, files, report, rows, tokens

SUMMARY = "Train a LoRA adapter, as notebook 08 does, and save it."
CODES = """Exit code: 0 only if the run is finished, 2 after an error, 130 after Ctrl-C, 143 after SIGTERM; those two
end it after the current step, with a checkpoint. In the folder, run.json has settings, hashes of data and the state."""


def parser() -> Parser:
    """Return the parser of the options, which may also stand in a file."""
    options = Parser(epilog=f"{FORMATS} {CODES}")
    options.add_argument("--config", action=ActionConfigFile, help="a YAML file of options, as configs/run.yaml")
    resume = "start the run, or go on from its last checkpoint in --output: the same command for both"
    options.add_argument("--resume", nargs="?", const="auto", choices=["auto"], help=resume)
    options.add_argument("--dry_run", action="store_true", help="say what would be trained, and in what memory")
    options.add_class_arguments(Train, None)
    return options


def run(options) -> int:
    """Train an adapter on the reader's pairs, or on notebook 08's examples with its test, and save it."""
    resume, dry_run, options = options.resume, options.dry_run, plain(options)
    output = Path(options.output)
    with runs.ended_by_sigterm():
        described, state = _begun(options, bool(resume))
        if state == "finished":
            _say(f"the run in {output} is finished: there is nothing to do")
            return 0
        data = together.done(lambda: _data(options))
        with contextlib.redirect_stdout(sys.stderr):
            parts = together.done(lambda: _parts(options, data))
        if dry_run:
            from lorautils.cli.forecast import forecast

            _say(forecast(options, data, parts[0]))
            return 0
        with _explained(output), _folder(output):
            with contextlib.redirect_stdout(sys.stderr):
                model = together.done(lambda: _prepared(options))
            with runs.recorded(output, described):
                together.done(lambda: together.see(output))
                return _run(options, model, parts, described)


def _begun(options: Train, resume: bool) -> tuple[dict, str]:
    """Return what makes the run, and its state in the folder, in which all processes agree."""

    def described() -> dict:
        settings = runs.described(options, _files(options))  # first, without torch: a wrong path is told at once
        _check(options)
        return settings

    run = together.done(described)
    together.done(lambda: together.same(run))
    state = together.done(lambda: None if rank() else runs.state_of(Path(options.output), run, resume))
    return run, together.told(state)[0]


def _say(text: str) -> None:
    """Print an answer, of several processes in the first alone."""
    if rank() == 0:
        print(text)


def _run(options: Train, model, parts: tuple[list, list], described: dict) -> int:
    """Train, save the adapter, say how it went, and return the exit code."""
    from lorautils import training

    output, tokenizer = Path(options.output), basemodel.load_tokenizer(options.model)
    with contextlib.redirect_stdout(sys.stderr):
        history = _trained(options, model, tokenizer, *parts)
    state = "interrupted" if history.interrupted else "finished"
    if training.save_adapter(model, output):  # this is the first process
        runs.write(output, described, state=state, steps=history.steps, of=history.total_steps)
        _report(options, history, len(parts[1]))
    if history.interrupted:
        notice(f"the run in {output} is interrupted: to go on, start it again with --resume auto")
        return 128 + history.interrupted
    if options.data is not None:
        notice(f"Next: lorautils evaluate FILE --adapter {output}, with a file of questions that it has not seen")
    elif history.loss and history.processes == 1:
        _test(model, tokenizer)
    return 0


def _report(options: Train, history, held_out: int) -> None:
    """Print what a training did."""
    if not history.loss:  # it was ended while it saved: the model is that of its last checkpoint
        print(f"the run was complete but for its adapter, which is now in {options.output}")
        return
    if history.processes > 1:
        print(f"{history.processes} processes ({history.wrapper}) shared batches of {options.batch_size}")
    print(f"{history.steps} steps, last loss {history.loss[-1]:.2f}, adapter in {options.output}")
    if history.held_out:
        step, loss = min(history.held_out, key=lambda look: look[1])
        best = options.keep_best or options.patience
        kept = "and that state is kept" if best else f"and {history.held_out[-1][1]:.2f} at the end"
        print(f"loss on {held_out} held-out sequences: lowest after step {step}, {loss:.2f}, {kept}")


def _check(options: Train) -> None:
    """Raise where settings do not fit one another, this machine, or what is installed."""
    if (options.keep_best or options.patience or options.held_out_steps) and not options.held_out:
        raise ValueError("keep_best, patience and held_out_steps need examples to measure on: add --held_out 0.1")
    if options.patience and not options.held_out_steps and options.patience + 1 >= options.epochs:
        notice(
            f"patience {options.patience} cannot end {options.epochs:g} epochs with a look after each: "
            "--held_out_steps 50 looks more often"
        )
    if options.data is not None and options.examples != Train.examples:
        raise ValueError("examples is how many cron examples are made, and data names files: leave one out")
    from lorautils.cli import targets

    count = processes()
    targets.check(options, count)
    if options.batch_size % count:
        raise ValueError(
            f"batch_size is {options.batch_size}, and {count} processes share a batch equally: name a multiple of "
            f"{count}, such as {-(-options.batch_size // count) * count}"
        )
    if options.report_to != "none" and find_spec(options.report_to) is None:
        raise ValueError(f"report_to is {options.report_to}, which is not installed: pip install {options.report_to}")
    if options.bf16:
        import torch

        from lorautils.measure import gigaflops

        if torch.cuda.is_available():
            if not torch.cuda.is_bf16_supported(including_emulation=False):
                raise ValueError("bf16 is set, and this GPU has no bf16 instructions: leave it out")
        elif (half := gigaflops(torch.bfloat16, 0.1)) < (single := gigaflops(torch.float32, 0.1)) / 2:
            raise ValueError(
                f"bf16 is set, and this processor makes {half:.0f} GFLOP/s in bf16 and {single:.0f} in float32: leave "
                "it out"
            )


def _files(options: Train) -> dict[str, list[str]]:
    """Return the files that settings name."""
    found = {name: files.files(named) for name in ("data", "mix") if (named := getattr(options, name)) is not None}
    if options.from_adapter is not None:
        found["from_adapter"] = [str(Path(options.from_adapter, "adapter_model.safetensors"))]
    return found


def _data(options: Train):
    """Return the reader's examples, or examples of cron."""
    if options.data is not None:
        return rows.read(files.files(options.data), renamed(options.rename), options.chat).whole()
    from lorautils.tasks import cron

    pairs = cron.cron_pairs(cron.train_examples(options.examples, seed=options.seed))
    examples = [rows.Row(f"example {number}", pair) for number, pair in enumerate(pairs, start=1)]
    return rows.Data(examples, Counter({"cron": len(examples)}))


def _parts(options: Train, data) -> tuple[list, list]:
    """Return the sequences to train on and those held out; say what looks wrong in them before anything is trained."""
    sequences = _sequences(options, data)
    if options.data is not None and rank() == 0:
        for level, text in report.findings(
            basemodel.load_tokenizer(options.model), data, sequences, [], options.max_length
        ):
            notice(f"{level:8} {text}")
    fitting = _fitting(options, sequences)
    train, held_out = alike.split(fitting, options.held_out, options.seed) if options.held_out else (fitting, [])
    if options.mix is not None:
        earlier = rows.read(files.files(options.mix), renamed(options.rename), options.chat).whole()
        old = _fitting(options, _sequences(options, earlier))
        count = min(len(old), round(options.mix_share * len(train)))
        train = train + random.Random(options.seed).sample(old, count)
        notice(f"mixed in: {count} of {len(old)} earlier sequences")
    return train, held_out


def _sequences(options: Train, data) -> list:
    """Encode examples; ValueError names the first that cannot be."""
    sequences, refused = tokens.encode_rows(basemodel.load_tokenizer(options.model), data.rows)
    if refused:
        raise ValueError(refused[0] + (f" (and {len(refused) - 1} more rows)" if refused[1:] else ""))
    return sequences


def _fitting(options: Train, sequences: Sequence) -> list:
    """Return the sequences that are not too long; ValueError names the longest, where those may not be left out."""
    fitting = [sequence for sequence in sequences if len(sequence.input_ids) <= options.max_length]
    if (options.too_long == "error" and len(fitting) < len(sequences)) or not fitting:
        longest = max(sequences, key=lambda sequence: len(sequence.input_ids))
        raise ValueError(
            f"{longest.row.where} has {len(longest.input_ids)} tokens, at most {options.max_length} are allowed: raise "
            "--max_length, shorten such examples, or leave them out with --too_long drop"
        )
    if len(fitting) < len(sequences):
        notice(f"left out, with more than {options.max_length} tokens: {len(sequences) - len(fitting)} sequences")
    return fitting


def _test(model, tokenizer) -> None:
    """Print how many of sixty cases of Test-A are right."""
    from lorautils import evaluation, results
    from lorautils.tasks import cron

    test = cron.test_a(60)
    answers = evaluation.evaluate(model, tokenizer, [cron.cron_prompt(example.text) for example in test])
    print(f"Test-A: {results.percent(cron.score(answers, test).exact, len(test))} exact of {len(test)}")


@contextlib.contextmanager
def _folder(output: Path) -> Iterator[None]:
    """Make the folder before the training, since it may be refused; take it away where the options or data are."""
    new = not output.exists()
    together.done(lambda: None if rank() else output.mkdir(parents=True, exist_ok=True))
    try:
        yield
    except ValueError:
        if rank() == 0 and new and not any(output.glob("checkpoint-*")):
            (output / runs.NAME).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # it holds something else
                output.rmdir()
        raise


@contextlib.contextmanager
def _explained(output: Path) -> Iterator[None]:
    """Raise an OSError that says how to go on where a library could not: a full disk ends each in another way."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        remedy = "make room, correct what is named here, or name another folder with --output"
        if isinstance(error, RuntimeError) and processes() > 1:
            remedy = "another process may have ended before, see what it or its launcher said"
        raise OSError(
            f"the run in {output} ended: {type(error).__name__}: {str(error)[:300]}. Next: {remedy}, then start it "
            "again with --resume auto"
        ) from error


def _prepared(options: Train):
    """Return the model that is trained, where it is trained.

    Several processes have met before, so that under FSDP only one reads it.
    """
    import torch

    from lorautils import setup

    setup(options.seed)
    model = _adapted(options)
    if processes() == 1 and torch.accelerator.is_available():
        model.to(torch.accelerator.current_accelerator())
    return model


def _trained(options: Train, model, tokenizer, sequences: Sequence, held_out: Sequence):
    """Train as the options say; return the history."""
    from lorautils import training
    from lorautils.formats import packing
    from lorautils.scaling import fused

    features = [sequence.feature for sequence in sequences]
    if options.packing:
        features = packing.packed(features, options.max_length)
        packing.check(model, features, tokenizer.pad_token_id)
    checkpoint = training.last_checkpoint(options.output)
    if checkpoint:
        notice(f"the run goes on from {checkpoint}")
    names = ["epochs", "batch_size", "gradient_accumulation_steps", "learning_rate", "seed", "held_out_steps"]
    names += ["keep_best", "patience", "save_steps", "report_to", "bf16", "gradient_checkpointing"]
    return training.train(
        model,
        tokenizer,
        features,
        held_out=[sequence.feature for sequence in held_out],
        loss=fused.loss if options.fused else training.plain_loss,
        output_dir=options.output,
        resume=checkpoint is not None,
        **{name: getattr(options, name) for name in names},
    )


def _adapted(options: Train):
    """Return the base model with its adapter, and say what it reaches and what looks wrong with it."""
    from peft import get_peft_model

    from lorautils import evaluation
    from lorautils.audit import audit
    from lorautils.cli import targets

    base = _base(options)
    if options.from_adapter is not None:
        model = evaluation.put_adapter(base, Path(options.from_adapter), trained=True)
        _check_same(options, model.peft_config["default"])
        reach = f"the adapter in {options.from_adapter} is trained further"
    else:
        config = targets.config(base, options)
        reach = targets.reach(base, config)
        model = get_peft_model(base, config)
    if rank() == 0:
        found = audit(model.train())
        notice("\n".join([reach, *found.adapters, *(f"WARNING {warning}" for warning in found.warnings)]))
    return model.train()


def _base(options: Train):
    """Return the frozen model, in float32, bf16 or 4 bits."""
    dtype = "bfloat16" if options.bf16 else "float32"
    if not options.load_in_4bit:
        return basemodel.load_base_model(options.model, dtype=dtype)
    from bitsandbytes.nn import Linear4bit
    from transformers import BitsAndBytesConfig

    # Kept as numbers of dtype: the same bits, which FSDP shards; bytes it would leave whole on each GPU.
    kept = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype, "bnb_4bit_quant_storage": dtype}
    nf4 = BitsAndBytesConfig(load_in_4bit=True, **kept)
    base = basemodel.load_base_model(options.model, dtype=dtype, quantization_config=nf4)
    for layer in base.modules():
        if isinstance(layer, Linear4bit):  # or a look at held-out examples repacks weights that training cannot read
            layer.support_avx512bf16_for_cpu = False
    return base


def _check_same(options: Train, config) -> None:
    """Raise ValueError for a setting that the adapter that is trained further has otherwise."""
    from lorautils.cli import targets

    if config.peft_type != "LORA":
        raise ValueError(
            f"the adapter in {options.from_adapter} is {config.peft_type.value}, expected LORA: name another"
        )
    for name in targets.KNOBS:
        given, own = getattr(options, name), getattr(config, name)
        if given not in (own, getattr(Train, name)):
            raise ValueError(f"{name} is {given}, and the adapter in {options.from_adapter} has {own}: leave it out")
    if options.bf16 and (config.bias != "none" or config.modules_to_save):
        raise ValueError(
            f"bf16 is set, and the adapter in {options.from_adapter} has biases or whole modules, of which small steps "
            "are rounded away in 16 bits: leave bf16 out"
        )
    for name in targets.NAMED:
        if getattr(options, name) is not None:
            raise ValueError(f"{name} and from_adapter are both set: an adapter stays as it is, leave one out")

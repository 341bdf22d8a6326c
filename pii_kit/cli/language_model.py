"""The verbs `lm train`, `lm eval` and `lm sample`: their arguments and their output."""

import argparse
import sys
from dataclasses import fields
from typing import Any

from pii_kit.cli import add_path, add_verb, dropout, positive, whole
from pii_kit.files import KitError
from pii_kit.kaggle import deadline_in
from pii_kit.language_model import bits_per_character, generate, read_bytes, split_bytes
from pii_kit.language_model.training import LanguageModelConfig, train_language_model
from pii_kit.models.sha_rnn import ShaRnnForCausalLM
from pii_kit.models.sha_rnn_layers import ShaRnnConfig, byte_model_config
from pii_kit.training.optim import MIXED_PRECISION, OPTIMIZERS
from pii_kit.training.parallel import working_devices
from pii_kit.training.runs import load_language_model

ATTENTION = {"none": lambda n: [], "all": lambda n: range(n), "last but one": lambda n: [max(n - 2, 0)]}


def train(args: argparse.Namespace) -> None:
    config = LanguageModelConfig(**{field.name: getattr(args, field.name) for field in fields(LanguageModelConfig)})
    text, sizes, deadline = read_bytes(args.data), _model_config(args), deadline_in(args.minutes)
    options: dict[str, Any] = {"resume": args.resume, "deadline": deadline, "source": str(args.data)}
    result = train_language_model(text, sizes, config, args.run, **options)
    bpc = f"bpc {result['validation_bpc']:.3f} (validation, step {result['step']}), {result['test_bpc']:.3f} (test)"
    print(f"{args.run}: {bpc}; {result['elapsed_seconds']:.0f} s on {result['device']}")


def eval(args: argparse.Namespace) -> None:
    text = read_bytes(args.data)
    part = text if args.part == "all" else getattr(split_bytes(text), args.part)
    if len(part) < 2:
        raise KitError(f"{args.data}: the part {args.part!r} has {len(part)} bytes; expected at least 2")
    options = {"window_size": args.window_size, "n_streams": args.streams, "back_off": args.back_off}
    bpc = bits_per_character(_load(args), part, **options, progress=True)
    print(f"{args.data}: {bpc:.4f} bits per character over {len(part) - 1} bytes")


def sample(args: argparse.Namespace) -> None:
    text = generate(_load(args), args.prompt.encode(), n_bytes=args.bytes, temperature=args.temperature, seed=args.seed)
    sys.stdout.write(args.prompt + text.decode("utf-8", errors="replace") + "\n")


def _model_config(args: argparse.Namespace) -> ShaRnnConfig:
    sizes = {field: getattr(args, field) for _, field, *_ in MODEL}
    if isinstance(args.attention_layers, str):
        sizes["attention_layers"] = ATTENTION[args.attention_layers](args.num_hidden_layers)
    try:
        return byte_model_config(**sizes)
    except ValueError as error:
        raise KitError(str(error)) from None


def _load(args: argparse.Namespace) -> ShaRnnForCausalLM:
    model = load_language_model(args.run, device=working_devices()[0])
    if not isinstance(model, ShaRnnForCausalLM):
        raise KitError(f"{args.run}: holds a {type(model).__name__}; expected a SHA-RNN language model")
    model.collapse()
    if args.memory is not None:
        model.config.memory_size = args.memory
    return model


def _attention(text: str) -> str | list[int]:
    if text not in ATTENTION and not all(number.isdecimal() for number in text.split(",")):
        raise argparse.ArgumentTypeError(f"expected none, all, or Block indices such as 2 or 0,2; found {text!r}")
    return text if text in ATTENTION else sorted({int(number) for number in text.split(",")})


def add_lm(verbs, text: str) -> None:
    """Add the verb `lm` and its own verbs."""
    lm = verbs.add_parser("lm", help=text, description=text)
    verbs = lm.add_subparsers(title="verbs", required=True, metavar="VERB")
    data = "text file, also .xz, .gz, .bz2 or .zip"
    memory: dict[str, Any] = dict(type=whole(0), metavar="N", help="positions of the memory; default: as trained")

    text = "train on the first 90 percent of a text, validate on the next 5, test on the last 5"
    examples = ["--data enwik8.zip --run runs/lm", "--data book.txt --run runs/lm --width 128 --boom 512 --minutes 30"]
    verb = add_verb(verbs, train, text, *examples)
    add_path(verb, "--data", "FILE", data)
    add_path(verb, "--run", "DIR", "folder of the run")
    verb.add_argument("--resume", action="store_true", help="resume the unfinished run in the folder")
    verb.add_argument("--minutes", type=positive, metavar="N", help="then save a checkpoint and stop; see --resume")
    _add_settings(verb.add_argument_group("model"), MODEL)
    settings, default = verb.add_argument_group("training"), LanguageModelConfig()
    _add_settings(settings, [(name, name, *kind, getattr(default, name), help) for name, *kind, help in TRAINING])
    settings.add_argument("--optimizer", choices=list(OPTIMIZERS), default=default.optimizer, help="optimizer")
    settings.add_argument("--mixed-precision", choices=MIXED_PRECISION, default="auto", help="precision of products")

    example = "--run runs/lm --data enwik8.zip --part test"
    verb = add_verb(verbs, eval, "measure the bits per character of a text, with state and memory carried", example)
    add_path(verb, "--run", "DIR", "folder of the run")
    verb.add_argument("--memory", **memory)
    add_path(verb, "--data", "FILE", data)
    parts = ("all", "train", "validation", "test")
    verb.add_argument("--part", choices=parts, default="all", help="part of the text, split as in training")
    verb.add_argument("--window-size", type=whole(1), default=256, metavar="N", help="bytes per window")
    verb.add_argument("--streams", type=whole(1), default=1, metavar="N", help="streams in parallel; more are faster")
    verb.add_argument("--back-off", action="store_true", help="empty the memory after each window")

    example = "--run runs/lm --prompt 'The city of' --bytes 1000 --temperature .8"
    verb = add_verb(verbs, sample, "generate text", example)
    add_path(verb, "--run", "DIR", "folder of the run")
    verb.add_argument("--memory", **memory)
    verb.add_argument("--prompt", default="", metavar="TEXT", help="text to continue")
    verb.add_argument("--bytes", type=whole(1), default=500, metavar="N", help="length of the new text")
    verb.add_argument("--temperature", type=positive, default=1.0, metavar="T", help="below 1: more likely bytes")
    verb.add_argument("--seed", type=whole(0), default=0, metavar="S", help="equal seeds give equal text")


def _add_settings(group, rows) -> None:
    for name, field, kind, metavar, default, help in rows:
        settings = {"dest": field, "type": kind, "metavar": metavar, "default": default, "help": help}
        group.add_argument(f"--{name.replace('_', '-')}", **settings)


# Argument, setting of ShaRnnConfig, type, metavar, default, help.
MODEL = (
    ("width", "hidden_size", whole(2), "N", 256, "width of embedding and LSTM; the paper's is 1024"),
    ("boom", "boom_size", whole(2), "N", 1024, "width of Boom; the paper's is 4096"),
    ("layers", "num_hidden_layers", whole(1), "N", 4, "number of Blocks"),
    ("attention", "attention_layers", _attention, "BLOCKS", "last but one", "Blocks with attention: none, all or 0,2"),
    ("heads", "num_attention_heads", whole(1), "N", 1, "attention heads"),
    ("memory", "memory_size", whole(0), "N", 5000, "positions of the memory"),
    ("dropout", "dropout", dropout, "SHARE", 0.1, "dropout inside Blocks"),
    ("input_dropout", "input_dropout", dropout, "SHARE", None, "dropout after the embedding; default: as --dropout"),
    ("output_dropout", "output_dropout", dropout, "SHARE", None, "dropout before the output; default: as --dropout"),
)
# Argument and setting of LanguageModelConfig, type, metavar, help.
TRAINING = (
    ("epochs", whole(1), "N", "epochs at the full learning rate"),
    ("half_rate_epochs", whole(0), "N", "epochs after them at half the rate, from the best weights"),
    ("batch_size", whole(1), "N", "streams in parallel"),
    ("window_size", whole(5), "N", "longest window, in bytes"),
    ("learning_rate", positive, "RATE", "learning rate after the warm-up"),
    ("weight_decay", float, "X", "weight decay"),
    ("clip_norm", positive, "X", "largest norm of the gradient"),
    ("warmup_steps", whole(0), "N", "steps of the warm-up"),
    ("memory_drop", float, "SHARE", "share of windows before which the memory is emptied"),
    ("eval_steps", whole(1), "N", "windows between validations; default: one validation per epoch"),
    ("eval_streams", whole(1), "N", "streams in parallel in validation"),
    ("checkpoint_steps", whole(1), "N", "windows between checkpoints"),
    ("seed", whole(0), "S", "random seed"),
)

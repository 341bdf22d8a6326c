"""`python -m pii_kit lm train|eval|sample`: the arguments of these verbs, and what they print."""

import argparse
import sys
from pathlib import Path

from pii_kit.cli import add_verb, dropout, positive, whole
from pii_kit.files import KitError
from pii_kit.language_model import bits_per_character, generate, read_bytes, split_bytes
from pii_kit.language_model.training import LanguageModelConfig, train_language_model
from pii_kit.models.sha_rnn_layers import ShaRnnConfig, byte_model_config
from pii_kit.training.optim import OPTIMIZERS
from pii_kit.training.parallel import working_devices
from pii_kit.training.runs import load_language_model

PARTS = ("all", "train", "validation", "test")


def train(args: argparse.Namespace) -> None:
    sizes = _sizes(args)
    names = LanguageModelConfig.__dataclass_fields__
    config = LanguageModelConfig(**{name: value for name, value in vars(args).items() if name in names})
    result = train_language_model(
        read_bytes(args.data), sizes, config, args.run, resume=args.resume, source=str(args.data)
    )
    print(
        f"{args.run}: bpc {result['validation_bpc']:.3f} (validation, step {result['step']}), "
        f"{result['test_bpc']:.3f} (test); {result['total_seconds']:.0f} s on {result['device']}"
    )


def eval(args: argparse.Namespace) -> None:
    text = read_bytes(args.data)
    part = text if args.part == "all" else getattr(split_bytes(text), args.part)
    if len(part) < 2:
        raise KitError(f"{args.data}: {len(part)} bytes of it to read; expected at least 2")
    model = _load(args)
    bpc = bits_per_character(
        model,
        part,
        window_size=args.window_size,
        n_streams=args.streams,
        back_off=args.back_off,
        progress=True,
    )
    print(f"{args.data}: {bpc:.4f} bits per character over {len(part) - 1} bytes")


def sample(args: argparse.Namespace) -> None:
    made = generate(_load(args), args.prompt.encode(), n_bytes=args.bytes, temperature=args.temperature, seed=args.seed)
    sys.stdout.write(args.prompt + made.decode("utf-8", errors="replace") + "\n")


def _sizes(args: argparse.Namespace) -> ShaRnnConfig:
    layers = {"none": [], "all": range(args.layers), "last but one": [max(args.layers - 2, 0)]}
    try:
        return byte_model_config(
            hidden_size=args.width,
            boom_size=args.boom,
            num_hidden_layers=args.layers,
            attention_layers=args.attention if isinstance(args.attention, list) else layers[args.attention],
            num_attention_heads=args.heads,
            memory_size=args.memory,
            dropout=args.dropout,
            input_dropout=args.input_dropout,
            output_dropout=args.output_dropout,
        )
    except ValueError as error:
        raise KitError(str(error)) from None


def _load(args: argparse.Namespace):
    model = load_language_model(args.run, device=working_devices()[0])
    model.collapse()
    if args.memory is not None:
        model.config.memory_size = args.memory
    return model


def _attention(text: str) -> str | list[int]:
    if text in ("none", "all", "last but one"):
        return text
    if not all(number.isdecimal() for number in text.split(",")):
        raise argparse.ArgumentTypeError(f"expected none, all, or block numbers such as 2 or 0,2; found {text!r}")
    return sorted({int(number) for number in text.split(",")})


def add_language_model_verbs(verbs) -> None:
    """The verb `lm` with its own verbs."""
    text = "the SHA-RNN language model over bytes: train, eval, sample"
    verbs = verbs.add_parser("lm", help=text, description=text).add_subparsers(
        title="verbs", required=True, metavar="VERB"
    )
    defaults = LanguageModelConfig()

    verb = add_verb(
        verbs, train, "train on a text: its first nine tenths; the next twentieth validates, the last one tests"
    )
    verb.add_argument(
        "--data", type=Path, required=True, metavar="FILE", help="text; .xz, .gz, .bz2, .zip are unpacked"
    )
    verb.add_argument("--run", type=Path, required=True, metavar="DIR", help="the run's folder")
    verb.add_argument("--resume", action="store_true", help="go on with the unfinished run in the folder")
    _add_sizes(verb)
    verb.add_argument("--memory", type=whole(0), default=5000, metavar="N", help="positions remembered")
    settings = verb.add_argument_group("training")
    for name, kind, metavar, help in (
        ("epochs", whole(0), "N", "at the full rate"),
        ("half-rate-epochs", whole(0), "N", "afterwards, at half of it, from the best weights"),
        ("batch-size", whole(1), "N", "streams side by side"),
        ("window-size", whole(5), "N", "bytes that gradients reach back at most"),
        ("learning-rate", positive, "RATE", "after warm-up"),
        ("weight-decay", float, "W", "of matrices"),
        ("clip-norm", positive, "NORM", "largest norm of the gradient"),
        ("warmup-steps", whole(0), "N", "over which the rate rises"),
        ("memory-drop", float, "P", "share of windows before which the memory is dropped"),
        ("eval-steps", whole(1), "N", "windows between validations; default: an epoch"),
        ("eval-streams", whole(1), "N", "streams side by side in validation"),
        ("checkpoint-steps", whole(1), "N", "windows between checkpoints"),
        ("minutes", positive, "M", "end the session then, to be resumed"),
        ("seed", whole(0), "S", "of start and order"),
    ):
        default = getattr(defaults, name.replace("-", "_"))
        settings.add_argument(f"--{name}", type=kind, default=default, metavar=metavar, help=help)
    settings.add_argument("--optimizer", choices=list(OPTIMIZERS), default=defaults.optimizer, help="which")
    precisions = ("auto", "no", "bf16", "fp16")
    settings.add_argument("--mixed-precision", choices=precisions, default=defaults.mixed_precision, help="which")

    verb = add_verb(verbs, eval, "bits per character of a text, with state and memory carried all through")
    _add_run(verb)
    verb.add_argument(
        "--data", type=Path, required=True, metavar="FILE", help="text; .xz, .gz, .bz2, .zip are unpacked"
    )
    verb.add_argument("--part", choices=PARTS, default="all", help="of the text, as training splits it")
    verb.add_argument("--window-size", type=whole(1), default=256, metavar="N", help="bytes read at once")
    verb.add_argument("--streams", type=whole(1), default=1, metavar="N", help="more are faster and a little worse")
    verb.add_argument("--back-off", action="store_true", help="drop the memory after each window: the LSTM alone")

    verb = add_verb(verbs, sample, "text that the model makes up")
    _add_run(verb)
    verb.add_argument("--prompt", default="", metavar="TEXT", help="what it goes on from")
    verb.add_argument("--bytes", type=whole(1), default=500, metavar="N", help="how much")
    verb.add_argument("--temperature", type=positive, default=1.0, metavar="T", help="below 1: likelier bytes")
    verb.add_argument("--seed", type=whole(0), default=0, metavar="S", help="equal seeds give equal text")


def _add_run(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--run", type=Path, required=True, metavar="DIR", help="the run's folder")
    verb.add_argument("--memory", type=whole(0), metavar="N", help="positions remembered; default: as trained")


def _add_sizes(verb: argparse.ArgumentParser) -> None:
    model = verb.add_argument_group("model")
    model.add_argument("--width", type=whole(2), default=256, metavar="N", help="of embedding and LSTM; paper 1024")
    model.add_argument("--boom", type=whole(2), default=1024, metavar="N", help="width of Boom; paper 4096")
    model.add_argument("--layers", type=whole(1), default=4, metavar="N", help="blocks")
    model.add_argument(
        "--attention",
        type=_attention,
        default="last but one",
        metavar="WHERE",
        help="none, all, or numbers such as 0,2",
    )
    model.add_argument("--heads", type=whole(1), default=1, metavar="N", help="attention heads")
    model.add_argument("--dropout", type=dropout, default=0.1, metavar="P", help="inside the blocks")
    model.add_argument("--input-dropout", type=dropout, metavar="P", help="default: as --dropout")
    model.add_argument("--output-dropout", type=dropout, metavar="P", help="default: as --dropout")

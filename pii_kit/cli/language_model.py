"""The verbs `lm train`, `lm eval`, `lm sample` and `lm export`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pii_kit.cli import options
from pii_kit.cli.options import examples, new_app, option
from pii_kit.files import KitError, check_output, check_record

if TYPE_CHECKING:
    from pii_kit.models.sha_rnn import ShaRnnForCausalLM

app = new_app("Train and use the byte language model of SHA-RNN.")

Text = Annotated[Path, option("FILE", "text file, also .xz, .gz, .bz2 or .zip", "--data")]
Part = Annotated[Literal["all", "train", "validation", "test"], option(None, "part of the text, split as in training")]
SIZES = ("hidden_size", "boom_size", "num_hidden_layers", "num_attention_heads", "memory_size", "dropout")


@app.command(
    epilog=examples(
        "lm train --data enwik8.zip --run runs/lm",
        "lm train --data book.txt --run runs/lm --width 128 --boom 512 --minutes 30",
        "lm train --data enwik8.zip --run runs/second --from runs/lm --learning-rate 5e-4 --seed 1",
    )
)
def train(
    data: Text,
    run: options.RunFolder,
    resume: options.Resume = False,
    minutes: options.Minutes = None,
    start: Annotated[Path | None, option("RUN", "start from this run's best weights, with its sizes", "--from")] = None,
    hidden_size: Annotated[int, option("N", "width of the LSTM; the paper's is 1024", "--width", min=2)] = 256,
    boom_size: Annotated[int, option("N", "width of Boom; the paper's is 4096", "--boom", min=2)] = 1024,
    num_hidden_layers: Annotated[int, option("N", "number of Blocks", "--layers", min=1)] = 4,
    attention: Annotated[str, option("BLOCKS", "Blocks with attention: none, all or 0,2")] = "last but one",
    num_attention_heads: Annotated[int, option("N", "attention heads", "--heads", min=1)] = 1,
    memory_size: Annotated[int, option("N", "positions of the memory", "--memory", min=0)] = 5000,
    dropout: Annotated[float, option("SHARE", "dropout inside Blocks", min=0, max=0.99)] = 0.1,
    epochs: Annotated[int, option("N", "passes over the training part", min=1)] = 1,
    batch_size: Annotated[int, option("N", "streams in parallel", min=1)] = 8,
    window_size: Annotated[int, option("N", "longest window, in bytes", min=5)] = 128,
    learning_rate: Annotated[float, option("RATE", "learning rate after the warm-up")] = 1e-3,
    seed: options.Seed = 0,
    optimizer: Annotated[Literal["lamb", "adam", "adamw"], option(None, "optimizer")] = "lamb",
) -> None:
    """Train on the first 90% of a text, validate and test on the rest."""
    given = dict(locals())
    from pii_kit.kaggle import deadline_in
    from pii_kit.language_model import LanguageModelConfig, read_bytes, train_language_model
    from pii_kit.models.sha_rnn import byte_model_config

    named = {name: given[name] for name in LanguageModelConfig.model_fields if name in given}
    config = check_record(named, LanguageModelConfig, "lm train")
    text, layers = read_bytes(data), _attention(attention, num_hidden_layers)
    try:
        sizes = byte_model_config(**{name: given[name] for name in SIZES}, attention_layers=layers)
    except ValueError as error:
        raise KitError(str(error)) from None
    how: dict[str, Any] = {"start": start, "resume": resume, "deadline": deadline_in(minutes), "source": str(data)}
    result = train_language_model(text, sizes, config, run, **how)
    bpc = f"bpc {result['validation_bpc']:.3f} (validation, step {result['step']}), {result['test_bpc']:.3f} (test)"
    print(f"{run}: {bpc}; {result['elapsed_seconds']:.0f} s on {result['device']}")


def _attention(text: str, n_layers: int) -> list[int]:
    named = {"none": [], "all": list(range(n_layers)), "last but one": [max(n_layers - 2, 0)]}
    if text in named:
        return named[text]
    if not all(index.isdecimal() for index in text.split(",")):
        raise KitError(f"--attention {text}: expected none, all, or Block indices such as 2 or 0,2")
    return sorted({int(index) for index in text.split(",")})


@app.command(epilog=examples("lm eval --run runs/lm --data enwik8.zip --part test --memory 100"))
def eval(
    run: options.RunFolder,
    data: Text,
    memory: Annotated[int | None, option("N", "positions of the memory; default: as trained", min=0)] = None,
    part: Part = "all",
    window_size: Annotated[int, option("N", "bytes per window", min=1)] = 256,
    streams: Annotated[int, option("N", "streams in parallel; more are faster", min=1)] = 1,
) -> None:
    """Measure the bits per character of a text."""
    from pii_kit.language_model import bits_per_character, read_bytes, split_bytes

    text = read_bytes(data)
    text = text if part == "all" else getattr(split_bytes(text), part)
    model = _load(run)
    if memory is not None:
        model.config.memory_size = memory
    bpc = bits_per_character(model, text, window_size=window_size, n_streams=streams, progress=True)
    print(f"{data}: {bpc:.4f} bits per character over {len(text) - 1} bytes")


@app.command(epilog=examples("lm sample --run runs/lm --prompt 'The city of' --bytes 1000 --temperature .8"))
def sample(
    run: options.RunFolder,
    prompt: Annotated[str, option("TEXT", "text to continue")] = "",
    n_bytes: Annotated[int, option("N", "length of the new text", "--bytes", min=1)] = 500,
    temperature: Annotated[float, option("T", "below 1: likely bytes are drawn more often", min=0.01)] = 1.0,
    seed: options.Seed = 0,
) -> None:
    """Generate text that continues a prompt."""
    from pii_kit.language_model import generate

    text = generate(_load(run), prompt.encode(), n_bytes=n_bytes, temperature=temperature, seed=seed)
    sys.stdout.write(prompt + text.decode("utf-8", errors="replace") + "\n")


@app.command(epilog=examples("lm export --run runs/lm --out lm.onnx"))
def export(run: options.RunFolder, out: options.Out) -> None:
    """Write the model for ONNX Runtime: bytes and state in, logits and state out."""
    from pii_kit.language_model import load_language_model
    from pii_kit.models.onnx import write_language_model

    check_output(out, run)
    difference = write_language_model(load_language_model(run), out)
    print(f"{out}: exported; logits differ by {difference:.1g} at most from PyTorch's")


def _load(run: Path) -> "ShaRnnForCausalLM":
    from pii_kit.language_model import load_language_model
    from pii_kit.models.network import working_devices

    return load_language_model(run, device=working_devices()[0])

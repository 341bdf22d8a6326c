"""The verbs sample and convert: essays to train on."""

from pathlib import Path
from typing import Annotated

import typer

from pii_kit.cli import options
from pii_kit.cli.options import choice, examples, number, option
from pii_kit.files import KitError, check_output
from pii_kit.labels import PII_TYPES

app = typer.Typer()
FORMS = ("doccano", "label-studio", "conll")


@app.command(epilog=examples("sample --out essays", "sample --out essays --documents 1000 --length 2.8 --seed 1"))
def sample(
    out: options.OutFolder,
    documents: Annotated[int, option("N", "number of training essays", min=1)] = 400,
    test_documents: Annotated[
        int | None, option("N", "number of test essays; default: a quarter of the others, at least 50", min=1)
    ] = None,
    length: Annotated[float, number("X", "factor on the length; 2.8 makes essays as long as the competition's")] = 1.0,
    seed: options.Seed = 0,
) -> None:
    """Write made-up essays: train.json, test.json, test_labels.csv."""
    from pii_kit.sample import write_sample

    check_output(out, folder=True)
    write_sample(out, n_documents=documents, n_test=test_documents, length=length, seed=seed)
    print(f"{out}: train.json, test.json, test_labels.csv")


@app.command(
    epilog=examples(
        "convert --data export.jsonl --form doccano --label PERSON=NAME_STUDENT --label ORG= --out train.json"
    )
)
def convert(
    data: Annotated[Path, option("FILE", "the tool's export")],
    form: Annotated[str, choice(FORMS, "JSON lines, JSON, or a token and its BIO tag in each line")],
    out: options.Out,
    label: Annotated[
        list[str] | None,
        option("LABEL=TYPE", "take a label of the file for a PII type, or drop it (LABEL=); repeat for several"),
    ] = None,
    text_field: Annotated[str | None, option("NAME", "field of the text; default: text, or the only one")] = None,
) -> None:
    """Turn essays that another tool labelled into a train.json."""
    from pii_kit.convert import read_annotations
    from pii_kit.documents import write_documents
    from pii_kit.labels import pii_places

    check_output(out, data)
    types = options.pairs("--label", label)
    for name, pii_type in types.items():
        if pii_type not in (*PII_TYPES, ""):
            raise KitError(f"--label {name}={pii_type}: expected one of {', '.join(PII_TYPES)}, or nothing to drop it")
    documents, n_extended = read_annotations(data, form, types=types, text_field=text_field)
    write_documents(out, documents)
    n_rows = sum(len(pii_places(document.labels or ())) for document in documents)
    extended = f"; {n_extended} spans cut through a token, which is labelled whole" * (n_extended > 0)
    print(f"{out}: {len(documents)} documents with {n_rows} PII tokens{extended}")

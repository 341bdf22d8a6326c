"""`python -m pii_kit convert`, and the formats of `predict` for other tools."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pii_kit.cli import add_path, add_verb, counted
from pii_kit.documents import write_documents
from pii_kit.files import KitError
from pii_kit.interchange.readers import FORMS, read_annotations
from pii_kit.interchange.writers import WRITERS
from pii_kit.labels import PII_TYPES, pii_places
from pii_kit.predict import Ensemble
from pii_kit.redact.forms import File
from pii_kit.redact.release import check_output, items_of, names_of
from pii_kit.tagger import Tagger


def convert(args: argparse.Namespace) -> None:
    check_not_input(args.out, args.data)
    documents, n_extended = read_annotations(args.data, args.form, types=dict(args.label or ()))
    write_documents(args.out, documents)
    n_rows = sum(len(pii_places(document.labels or ())) for document in documents)
    extended = f"; {n_extended} spans cut through a token, which is labelled whole" * (n_extended > 0)
    print(f"{args.out}: {len(documents)} documents with {n_rows} PII tokens{extended}")


def check_not_input(out: Path, data: Path) -> None:
    """Raise KitError if the output would overwrite the input, or is a folder."""
    if out.resolve() == data.resolve():
        raise KitError(f"{out}: is the input; choose another name for the output")
    check_output(out, is_folder=False)


def write_found(args: argparse.Namespace, files: Sequence[File], ensemble: Ensemble) -> None:
    """Label the documents of files, and write them in the format of `--format` other than csv."""
    found = list(Tagger(ensemble).label_documents(item.document for item in items_of(files)))
    WRITERS[args.format](args.out, found, names=names_of(files))
    n_spans = sum(len(spans) for _, spans in found)
    print(f"{args.out}: {n_spans} spans in {len(found)} documents; {counted(ensemble.n_models, 'model')}, ", end="")
    print(f"P(O) < {ensemble.o_threshold:g}")


def add_format(verb: argparse.ArgumentParser) -> None:
    """Add the argument for what `predict` writes."""
    text = "a submission; a line of JSON for each document, with spans; a spaCy DocBin; or a page of displaCy. For the "
    text += "last three --data takes any form that redact reads"
    verb.add_argument("--format", choices=("csv", *WRITERS), default="csv", help=text)


def _mapping(text: str) -> tuple[str, str]:
    label, _, pii_type = text.rpartition("=")
    if not label or pii_type not in (*PII_TYPES, ""):
        expected = f"LABEL=TYPE with one of {', '.join(PII_TYPES)}, or LABEL= to drop it"
        raise argparse.ArgumentTypeError(f"expected {expected}; found {text!r}")
    return label, pii_type


def add_convert(verbs, text: str) -> None:
    """Add the verb convert."""
    example = "--data export.jsonl --form doccano --label PERSON=NAME_STUDENT --label ORG= --out train.json"
    verb = add_verb(verbs, convert, text, example)
    add_path(verb, "--data", "FILE", "the tool's export")
    text = "JSON lines of doccano, JSON of Label Studio, or a token and a BIO tag in each line"
    verb.add_argument("--form", choices=list(FORMS), required=True, help=text)
    add_path(verb, "--out", "TRAIN.json", "the labelled essays, for train and all other verbs")
    text = "take a label of the file for one of our types, or drop it if TYPE is empty; repeat for several labels"
    verb.add_argument("--label", type=_mapping, action="append", metavar="LABEL=TYPE", help=text)

"""A run holds no text of its essays."""

import json
import random
import string
import zipfile
from dataclasses import replace
from pathlib import Path

from conftest import make_document

from pii_kit.augment import without_pii
from pii_kit.documents import join_tokens
from pii_kit.sample import make_documents
from pii_kit.training.train import train


def rare_documents() -> tuple[list, set[str]]:
    """Documents whose names, addresses and numbers are made of rare strings, some of which nobody labels elsewhere."""
    rng, secrets, documents = random.Random(4), set(), []

    def rare(token: str) -> str:
        word = "".join(rng.choices(string.ascii_lowercase, k=9))
        secrets.add(word)
        return word.capitalize() if token[:1].isupper() else word

    for document in make_documents(48, seed=1):
        pairs = zip(document.tokens, document.labels, strict=True)
        tokens = [rare(token) if label != "O" and len(token) > 2 else token for token, label in pairs]
        documents.append(
            replace(document, tokens=tuple(tokens), full_text=join_tokens(tokens, document.trailing_whitespace))
        )
    names = [next(token for token, label in zip(doc.tokens, doc.labels, strict=True) if label != "O")
             for doc in documents if doc.types]  # fmt: skip
    for place, document in enumerate(documents):
        name, other = names[place % len(names)], names[(place + 1) % len(names)]
        tokens = (*document.tokens, name, f"{name}.docx", f"({other})", other.upper(), f"x{other.lower()}y")
        spaces, labels = (True,) * len(tokens), (*document.labels, *["O"] * 5)
        text = join_tokens(tokens, spaces)
        documents[place] = replace(document, tokens=tokens, trailing_whitespace=spaces, labels=labels, full_text=text)
    return documents, secrets


def contents(folder: Path) -> bytes:
    """All files of a folder, those inside of checkpoints too, in lower case."""
    parts = []
    for path in folder.rglob("*"):
        if path.is_file():
            parts.append(path.read_bytes())
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    parts += [archive.read(name) for name in archive.namelist()]
    return b"\n".join(parts).lower()


def test_no_name_of_the_documents_is_in_any_file_of_a_run(tmp_path):
    documents, secrets = rare_documents()
    assert len(secrets) >= 20
    changes = {"epochs": 1, "model.hidden_size": 16, "model.boom_size": 32, "augment.traps": 0}
    train("sha_rnn", documents, tmp_path / "run", n_folds=2, changes=changes)
    files = contents(tmp_path / "run")
    assert [secret for secret in secrets if secret.encode() in files] == []
    vocabulary = json.loads((tmp_path / "run" / "fold_0" / "tagger" / "tokenizer.json").read_text())["model"]["vocab"]
    assert len(vocabulary) > 1000 and any("student" in piece or "the" in piece for piece in vocabulary)


def test_a_string_that_is_labelled_in_one_document_is_in_no_text_of_a_vocabulary():
    """A name of ordinary words, and a number of short parts; the words and parts themselves stay."""
    labelled = {"Hope": "B-NAME_STUDENT", "Young": "I-NAME_STUDENT", "Will": "I-NAME_STUDENT"}
    labelled |= {"06": "B-PHONE_NUM", "39": "I-PHONE_NUM", "98": "I-PHONE_NUM"}
    other = "HOPE YOUNG said: Hope and Will may call 06 39 98, in the hope that I am 39 and young"
    documents = [make_document("I am Hope Young Will, call 06 39 98", 1, labelled), make_document(other, 2, {})]
    first, second = (document.full_text for document in without_pii(documents))
    assert "Hope" not in first + second and "06 39" not in first + second and "YOUNG" not in second
    assert " and Will may call " in second and second.endswith(", in the hope that I am 39 and young")


def test_the_texts_of_a_vocabulary_keep_other_words():
    documents, secrets = rare_documents()
    cleaned = without_pii(documents, seed=0)
    text = " ".join(document.full_text.lower() for document in cleaned)
    assert not [secret for secret in secrets if secret in text]
    words = {token for document in documents for token in document.tokens if token.islower() and token.isalpha()}
    kept = {token.lower() for document in cleaned for token in document.tokens}
    assert len(words - secrets - kept) < 0.2 * len(words)

"""Every step takes time linear in the document, also in the length of one token.

No test here has a timer: a step that is quadratic in a token of 300,000 characters takes minutes.
"""

import numpy as np
import pytest

from pii_kit.decide import decide
from pii_kit.documents import Document, read_documents, write_documents
from pii_kit.labels import LABEL_TO_ID, LABELS, OUTSIDE_ID
from pii_kit.pieces import train_byte_pairs, train_word_pieces
from pii_kit.rules import RULES, apply_rules
from pii_kit.submission import check_submission, submission_rows, write_submission
from pii_kit.windows import NO_TOKEN, cut_windows, merge_windows

N = 300_000
LONG = {
    "letters": "a" * N,
    "digits": "7" * N,
    "brackets": "(" * N,
    "full stops": "." * N,
    "at signs": "@" * N,
    "hyphens": "-" * N,
    "letters and full stops": "a." * (N // 2),
    "newlines": "\n" * N,
    "spaces": " " * N,
}
# WordPiece makes one [UNK] of a long word, one piece of each punctuation mark or newline, and drops spaces.
WITH_WORD_PIECES = ("letters", "brackets", "newlines", "spaces")


@pytest.fixture(scope="module")
def tokenizers(documents):
    return [train(documents, n_pieces=400) for train in (train_byte_pairs, train_word_pieces)]


@pytest.mark.parametrize("name", LONG)
def test_a_token_of_many_characters_passes_every_step(name, tokenizers, tmp_path):
    tokens, spaces = ("By", LONG[name], "Ann"), (True, True, False)
    full_text = f"By {LONG[name]} Ann"
    path = tmp_path / "test.json"
    write_documents(path, [Document(number=1, full_text=full_text, tokens=tokens, trailing_whitespace=spaces)])
    (document,) = read_documents(path)
    for tokenizer in tokenizers if name in WITH_WORD_PIECES else tokenizers[:1]:
        windows = cut_windows(document, tokenizer, size=256, overlap=64)
        scores = [np.full((len(window), len(LABELS)), 1 / len(LABELS), dtype=np.float32) for window in windows]
        probabilities = merge_windows(3, windows, scores, len(LABELS))
        assert {token for window in windows for token in window.token_index[:2].tolist()} <= {NO_TOKEN, 0, 1, 2}
        assert np.allclose(probabilities, 1 / len(LABELS))
    dropping = [name for name in RULES if not name.startswith("add_")]
    for label in ("B-EMAIL", "B-ID_NUM", "B-URL_PERSONAL", "B-NAME_STUDENT"):
        probabilities[1] = 0
        probabilities[1, [LABEL_TO_ID[label], OUTSIDE_ID]] = 0.999, 0.001
        labels = decide(probabilities, o_threshold=0.01)
        assert labels == ["O", label, "O"]
        last = label == "B-NAME_STUDENT"
        labels = apply_rules(document, labels, probabilities, list(RULES) if last else dropping)
    write_submission(tmp_path / "submission.csv", submission_rows([(1, labels)]))
    assert check_submission(tmp_path / "submission.csv", [document]) == []


@pytest.mark.parametrize("token", ["\n", "a", "Ann", "a@b.c", "By"])
def test_a_document_of_many_tokens_passes_every_step(token, tokenizers):
    n_tokens = N // 10
    document = Document(
        number=1,
        full_text=(token + " ") * n_tokens,
        tokens=(token,) * n_tokens,
        trailing_whitespace=(True,) * n_tokens,
    )
    windows = cut_windows(document, tokenizers[0], size=256, overlap=64)
    scores = [np.full((len(window), len(LABELS)), 1 / len(LABELS), dtype=np.float32) for window in windows]
    probabilities = merge_windows(n_tokens, windows, scores, len(LABELS))
    labels = apply_rules(document, decide(probabilities, o_threshold=0.5), probabilities, list(RULES))
    assert len(labels) == n_tokens

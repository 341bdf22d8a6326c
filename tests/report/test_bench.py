import math

import numpy as np
import pytest
import torch
from conftest import tiny_mobilebert

from pii_kit.documents import join_tokens
from pii_kit.models import flops
from pii_kit.models.network import TorchNetwork
from pii_kit.predict import Member, Tagger
from pii_kit.report import bench
from pii_kit.report.bench import PIPELINE, SPACY, documents_of, load_spacy, new_to_all, operations, pipeline_of
from pii_kit.sample import make_documents
from pii_kit.windows import cut_windows


def fact(documents: int, tokens: int, **more) -> dict:
    return {"documents": documents, "tokens": tokens, **more}


def test_speeds_ratios_and_limits_are_those_worked_out_by_hand():
    turns = [
        {"a": [1.0, 2.0, 1.0], f"{PIPELINE}, a": [1.0, 1.0, 1.0], SPACY: [2.0, 16.0, 4.0]},
        {"b": [4.0, 8.0, 4.0], SPACY: [2.0, 2.0, 2.0]},
    ]
    facts = {
        SPACY: fact(6, 600),
        f"{PIPELINE}, a": fact(1, 100),
        "a": fact(6, 600, limit_seconds=0.25, f5=0.9),
        "b": fact(6, 600, limit_seconds=1.0),
    }
    table = bench.table_of(turns, facts)
    assert list(table.index) == list(facts)
    assert table.loc["a", ["documents_per_second", "tokens_per_second"]].tolist() == [6, 600]
    assert table.loc[SPACY, "tokens_per_second"] == 300  # the median of both turns' seconds is 2
    assert table.loc["a", "times_spacy"] == 4  # 2, 8 and 4 times as fast: not 2 / 1, the ratio of the medians
    assert table.loc["b", "times_spacy"] == 0.5
    assert table.loc["a", "times_pipeline"] == 6  # as long for six times the tokens
    assert table.loc[f"{PIPELINE}, a", "times_spacy"] == pytest.approx(
        4 / 6
    )  # 2, 16 and 4 seconds for six times as many
    assert table.loc["a", ["limit_tokens_per_second", "share_of_limit"]].tolist() == [2400, 0.25]
    assert table.loc["a", "f5"] == 0.9
    empty = [(SPACY, "times_spacy"), ("b", "times_pipeline"), (SPACY, "share_of_limit"), ("b", "f5")]
    assert all(math.isnan(table.loc[place]) for place in empty)


def tagger_of(*members: Member) -> Tagger:
    return Tagger(members, o_threshold=0.9, rules=())


@pytest.mark.parametrize("kind", ["sha_rnn_tagger", "mobilebert_tagger"])
def test_operations_are_those_of_each_window_of_each_tagger(kind, documents, request):
    tagger = request.getfixturevalue(kind)
    cuts = {"size": tagger.window_size, "overlap": tagger.overlap}
    lengths = [len(window) for window in cut_windows(documents[0], tagger.tokenizer, **cuts)]
    of_length = {length: flops(tagger.network.model, n_pieces=length) for length in set(lengths)}
    expected = sum(of_length[length] for length in lengths)
    assert len(of_length) > 1
    assert operations(tagger_of(tagger), documents[:1]) == pytest.approx(expected, rel=1e-9)
    assert operations(tagger_of(tagger, tagger), documents[:1]) == pytest.approx(2 * expected, rel=1e-9)


def test_documents_of_a_length_have_that_many_tokens_and_their_text():
    documents = documents_of(3, 40_000)  # longer than the text that they are cut from
    assert [document.number for document in documents] == [0, 1, 2]
    assert all(len(document.tokens) == 40_000 for document in documents)
    assert all(
        document.full_text == join_tokens(document.tokens, document.trailing_whitespace) for document in documents
    )
    assert documents[0].tokens != documents[1].tokens


def test_the_pipeline_computes_what_the_taggers_model_does_without_features(mobilebert_tagger, documents):
    find = pipeline_of(mobilebert_tagger)
    pieces = torch.arange(10, 40)[None]
    with torch.inference_mode():
        expected = mobilebert_tagger.network.model(input_ids=pieces).logits
        np.testing.assert_allclose(find.model(input_ids=pieces).logits, expected, rtol=1e-4, atol=1e-5)
    assert find.model.config.id2label == mobilebert_tagger.network.model.config.id2label
    assert find.tokenizer.model_max_length == mobilebert_tagger.window_size
    texts = [document.full_text for document in documents[:3]]
    alone, together = (find(texts, batch_size=size) for size in (1, 4))
    assert [len(of_document) for of_document in alone] == [len(of_document) for of_document in together]


def test_the_pipeline_reads_a_document_to_its_end(mobilebert_tagger, documents):
    """With labels that are never O, spans reach from the first to the last word, over many windows."""
    model = tiny_mobilebert(vocab_size=mobilebert_tagger.tokenizer.n_pieces)
    with torch.no_grad():
        model.classifier.bias[1] += 100
    tagger = Member(
        network=TorchNetwork(model), tokenizer=mobilebert_tagger.tokenizer, window_size=64, overlap=16, o_threshold=0.9
    )
    text = max((document.full_text for document in documents), key=len).strip()
    found = pipeline_of(tagger)([text])[0]
    assert found[0]["start"] == 0 and found[-1]["end"] == len(text)


def test_f5_is_measured_only_on_documents_that_nothing_was_trained_on(cross_validated, documents):
    run = cross_validated(0)[0]
    new = make_documents(6, seed=5, first_document=5000)
    assert new_to_all([*documents, *new], [run], []) == new
    assert new_to_all([*documents, *new], [run, run], new[:2]) == new[2:]


def test_spacy_labels_only_after_a_training_on_the_given_documents(documents):
    assert load_spacy([]).label is None
    label = load_spacy(documents[:12]).label
    assert [len(labels) for labels in label(documents[:2])] == [len(document.tokens) for document in documents[:2]]


def test_each_run_is_measured_by_one_fold_and_by_all_and_all_runs_together(cross_validated, tmp_path):
    one, two = cross_validated(0)[0], cross_validated(1)[0]
    subjects = {name: folders for name, folders in bench._subjects([one, two])}
    assert subjects == {
        "seed_0, 1 fold": [one / "fold_0"],
        "seed_0, 3 folds": [one],
        "seed_1, 1 fold": [two / "fold_0"],
        "seed_1, 3 folds": [two],
        "all runs": [one, two],
    }
    assert list(dict(bench._subjects([one]))) == ["seed_0, 1 fold", "seed_0, 3 folds"]

import json
import warnings
from collections import Counter

import pytest
from conftest import make_document

from pii_kit import data
from pii_kit.data import DataWarning, Document, fold_of_documents, read_documents, split_documents, write_documents
from pii_kit.files import KitError
from pii_kit.kaggle import find_data_folder

ENTRY = {
    "document": 7,
    "full_text": "Hi Ann\n",
    "tokens": ["Hi", "Ann", "\n"],
    "trailing_whitespace": [True, False, False],
    "labels": ["O", "B-NAME_STUDENT", "O"],
}


def written(tmp_path, entries) -> str:
    path = tmp_path / "essays.json"
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return path


def test_what_is_written_is_read_back(tmp_path, documents):
    unlabelled = make_document("No labels here \N{GRINNING FACE}\u200b \n\n é", number=10**6)
    write_documents(tmp_path / "essays.json", [*documents, unlabelled])
    assert read_documents(tmp_path / "essays.json") == [*documents, unlabelled]


@pytest.mark.parametrize(
    ("change", "needle"),
    [
        ({"document": "7"}, "document"),
        ({"document": True}, "document"),
        ({"full_text": None}, "document 7: full_text: expected a string, found null"),
        ({"tokens": "Hi Ann"}, "document 7: tokens: expected a list, found a string"),
        ({"tokens": ["Hi", 3, "\n"]}, "document 7: tokens[1]: expected a string, found a number"),
        ({"tokens": ["Hi", "Ann"]}, "document 7: trailing_whitespace: 3 of them for 2 tokens"),
        ({"trailing_whitespace": [True, False]}, "document 7: trailing_whitespace: 2 of them for 3 tokens"),
        ({"trailing_whitespace": [True, 0, False]}, "trailing_whitespace[1]: expected true or false, found a number"),
        ({"labels": ["O", "B-NAME_STUDENT"]}, "document 7: labels: 2 of them for 3 tokens"),
        ({"labels": ["O", "B-NAME", "O"]}, "document 7: labels[1]: 'B-NAME' is none of the 15"),
        ({"labels": None}, "document 7: labels: expected a list, found null"),
    ],
)
def test_a_wrong_field_is_named_with_file_and_document(tmp_path, change, needle):
    path = written(tmp_path, [ENTRY | change])
    with pytest.raises(KitError) as error:
        read_documents(path)
    assert str(path) in str(error.value)
    assert needle in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("field", ["document", "full_text", "tokens", "trailing_whitespace"])
def test_a_missing_field_is_named(tmp_path, field):
    path = written(tmp_path, [{key: value for key, value in ENTRY.items() if key != field}])
    with pytest.raises(KitError, match=f"{field} missing"):
        read_documents(path)


def test_labels_may_be_missing_unless_training_needs_them(tmp_path):
    path = written(tmp_path, [{key: value for key, value in ENTRY.items() if key != "labels"}])
    assert read_documents(path)[0].labels is None
    with pytest.raises(KitError, match=r"document 7: labels missing \(training needs them\)"):
        read_documents(path, labels_required=True)


@pytest.mark.parametrize(
    ("content", "needle"),
    [
        ("[{", "not JSON"),
        ("", "not JSON"),
        ('{"document": 1}', "expected a list of essays, found an object"),
        ("[3]", "essay at 0: expected an object, found a number"),
        ("[" * 10**5, "not JSON"),
    ],
)
def test_a_file_that_is_no_list_of_essays_is_refused(tmp_path, content, needle):
    with pytest.raises(KitError, match=needle):
        read_documents(written(tmp_path, content))


def test_bytes_that_are_no_utf8_are_refused(tmp_path):
    path = tmp_path / "essays.json"
    path.write_bytes(b'["\xff"]')
    with pytest.raises(KitError, match="not JSON in UTF-8"):
        read_documents(path)


def test_a_document_number_used_twice_is_refused_with_both_places(tmp_path):
    path = written(tmp_path, [ENTRY, ENTRY | {"document": 8}, ENTRY])
    with pytest.raises(KitError, match="document 7: number used twice, by the essays at 0 and 2"):
        read_documents(path)


def test_a_missing_file_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(KitError, match=f"no such file; looked in {tmp_path}"):
        read_documents(tmp_path / "train.json")


def test_text_that_tokens_do_not_spell_is_a_warning_with_the_count(tmp_path):
    path = written(tmp_path, [ENTRY, ENTRY | {"document": 8, "full_text": "Hi  Ann"}])
    with pytest.warns(DataWarning, match="1 of 2 documents"):
        assert len(read_documents(path)) == 2


def test_no_documents_is_a_warning(tmp_path):
    with pytest.warns(DataWarning, match="no documents"):
        assert read_documents(written(tmp_path, [])) == []


def test_an_empty_document_is_read(tmp_path):
    empty = {"document": 3, "full_text": "", "tokens": [], "trailing_whitespace": [], "labels": []}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (document,) = read_documents(written(tmp_path, [empty]))
    assert document.tokens == () and document.labels == ()


def test_equal_tokens_share_one_string(tmp_path):
    path = written(tmp_path, [ENTRY | {"document": number} for number in range(3)])
    first, second, third = read_documents(path)
    assert first.tokens[1] is second.tokens[1] is third.tokens[1]


def holding(*types: str, number: int) -> Document:
    labels = tuple(f"B-{pii_type}" for pii_type in types) or ("O",)
    return Document(
        document=number,
        full_text="x" * len(labels),
        tokens=("x",) * len(labels),
        trailing_whitespace=(False,) * len(labels),
        labels=labels,
    )


def test_folds_spread_every_set_of_types_evenly():
    kinds = [("NAME_STUDENT",)] * 23 + [("NAME_STUDENT", "EMAIL")] * 7 + [("STREET_ADDRESS",)] * 2 + [()] * 61
    documents = [holding(*types, number=number) for number, types in enumerate(kinds)]
    folds = fold_of_documents(documents, n_folds=5, seed=3)
    for types in set(kinds):
        per_fold = Counter(fold for fold, kind in zip(folds, kinds, strict=True) if kind == types)
        assert max(per_fold.values()) - min(per_fold[fold] for fold in range(5)) <= 1
    assert max(Counter(folds).values()) - min(Counter(folds).values()) <= 1


def test_a_rare_type_is_spread_although_each_document_holds_another_set():
    sets = [("USERNAME",), ("USERNAME", "EMAIL"), ("USERNAME", "NAME_STUDENT"), ("USERNAME", "ID_NUM")]
    documents = [holding(*types, number=number) for number, types in enumerate(sets + [("NAME_STUDENT",)] * 20)]
    folds = fold_of_documents(documents, n_folds=4, seed=0)
    assert sorted(folds[:4]) == [0, 1, 2, 3]


def test_a_split_loses_and_doubles_nothing_and_follows_the_seed(documents):
    training, validation = split_documents(documents, n_folds=4, fold=1, seed=5)
    assert sorted(doc.document for doc in training + validation) == [doc.document for doc in documents]
    assert split_documents(documents, n_folds=4, fold=1, seed=5) == (training, validation)
    assert split_documents(documents, n_folds=4, fold=1, seed=6)[1] != validation


def test_more_folds_than_documents_is_an_error():
    with pytest.raises(KitError, match="1 documents cannot be split into 5 folds"):
        split_documents([holding(number=1)])


@pytest.fixture
def bare_machine(tmp_path, monkeypatch):
    """No essays anywhere: no variable, no mounts, an empty working folder."""
    monkeypatch.delenv(data.DATA_VARIABLE, raising=False)
    monkeypatch.setattr(data, "input_folders", list)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def place(folder) -> None:
    folder.mkdir(parents=True)
    (folder / "test.json").write_text("[]")


def test_places_are_searched_in_the_order_promised(bare_machine, monkeypatch):
    assert find_data_folder() is None
    place(bare_machine / "data")
    assert find_data_folder()[0].resolve() == bare_machine / "data"
    place(bare_machine / "mounted")
    monkeypatch.setattr(data, "input_folders", lambda: [bare_machine / "mounted"])
    assert find_data_folder()[0] == bare_machine / "mounted"
    place(bare_machine / "variable")
    monkeypatch.setenv(data.DATA_VARIABLE, str(bare_machine / "variable"))
    assert find_data_folder()[0] == bare_machine / "variable"
    place(bare_machine / "asked")
    assert find_data_folder(bare_machine / "asked")[0] == bare_machine / "asked"


def test_a_folder_asked_for_without_essays_is_an_error(bare_machine):
    place(bare_machine / "data")
    with pytest.raises(KitError, match=r"no test.json there \(folder as asked\)"):
        find_data_folder(bare_machine / "elsewhere")

"""Features of words: the shipped list, and how tokens are looked up in it."""

import pytest

from pii_kit.lexicon import CASINGS, LISTS, MISSPELT, features_of, look_up, read_lexicon


def test_every_category_of_the_list_fits_its_table():
    lexicon = read_lexicon()
    assert len(lexicon) > 150_000 and all(word == word.lower() for word in lexicon)
    for place, (name, size) in enumerate(LISTS.items()):
        found = {categories[place] for categories in lexicon.values()}
        assert found == set(range(size - (name == "commonness")))  # MISSPELT is in no list


@pytest.mark.parametrize(
    ("token", "name", "expected"),
    [
        ("The", "commonness", 5), ("xqzzt", "commonness", 0), ("MEXICO", "place", 3), ("Mumbai", "place", 2),
        ("Maria", "first name", 2), ("Garcia", "surname", 2), ("Garc\u00eda", "surname", 2),
    ],
)  # fmt: skip
def test_known_words_have_their_categories_whatever_the_casing(token, name, expected):
    assert look_up(token)[list(LISTS).index(name)] == expected


@pytest.mark.parametrize("token", ["Reflecton", "Reflectiion", "reflcetion", "RIFLECTION"])
def test_a_word_with_one_mistake_is_misspelt(token):
    assert look_up(token)[0] == MISSPELT


@pytest.mark.parametrize("token", ["xqzzt", "", "123456", "\n", "a" * 100_000])
def test_what_is_no_word_is_unknown_to_all_lists(token):
    assert look_up(token) == (0,) * len(LISTS)


def test_only_capitals_have_another_row_if_they_are_also_a_word():
    plain, as_word = features_of("Will")
    assert CASINGS[plain[0]] == "Title" and CASINGS[as_word[0]] == "Title word" and plain[1:] == as_word[1:]
    assert features_of("will")[0] == features_of("will")[1]

import random
import string

import pytest

from pii_kit.augment.surrogates import LOCALES, ROMANIZED, Surrogates, _pool
from pii_kit.data import TOKENIZER
from pii_kit.sample.text import handle_of

HANDLES = ("me", "am", "jan", "km", "anasilva", "x" * 60)


def surrogates(seed=0, avoid=()) -> Surrogates:
    return Surrogates(random.Random(seed), set(avoid))


def one_of_each(drawn: Surrogates) -> list[str]:
    values = [drawn.first_name(), drawn.last_name("tr_TR"), drawn.word("first"), drawn.email("ann"), drawn.url("ann")]
    values += [drawn.username("ann"), drawn.phone(), drawn.address(), drawn.company(), drawn.town(), drawn.link()]
    return [*values, drawn.id_number(), drawn.like("AB-12")]


def n_tokens(text: str) -> int:
    return len(TOKENIZER(text))


def test_equal_states_give_equal_surrogates_regardless_of_earlier_draws():
    first = one_of_each(surrogates(3))
    _pool.cache_clear()
    one_of_each(surrogates(4))
    assert one_of_each(surrogates(3)) == first != one_of_each(surrogates(4))


@pytest.mark.parametrize("part", ["first", "last"])
def test_every_locale_has_capitalised_names_in_latin_script(part):
    for locale in LOCALES:
        pool = _pool(f"{part}_romanized_name" if locale in ROMANIZED else f"{part}_name", locale)
        assert sum(name[:1].isupper() for name in pool) >= 20, locale
        assert max(max(name) for name in pool) < "\u2c00", locale


@pytest.mark.parametrize("draw", ["first_name", "last_name"])
def test_names_vary_and_some_have_accents(draw):
    drawn = [getattr(surrogates(seed), draw)() for seed in range(200)]
    assert len(set(drawn)) > 100
    assert 0 < sum(not name.isascii() for name in drawn) < 100
    assert all(name == name.strip() and name[0].isupper() for name in drawn)


def test_a_word_is_one_capitalised_token():
    drawn = surrogates()
    for part in ["first", "last"] * 100:
        word = drawn.word(part)
        assert n_tokens(word) == 1 and word[0].isupper() and word[1:].islower()


def test_no_part_of_a_name_is_in_avoid():
    usual = {surrogates(seed).first_name().casefold() for seed in range(60)}
    avoid = {part for name in usual for part in name.split()}
    for seed in range(60):
        assert avoid.isdisjoint(surrogates(seed, avoid).first_name().casefold().split())


def test_no_two_people_share_a_name():
    drawn, taken = surrogates(), set()
    for _ in range(300):
        parts = set(drawn.first_name("en_NG").casefold().replace("-", " ").split())
        assert taken.isdisjoint(parts)
        taken |= parts


def test_a_document_that_holds_every_name_gets_an_invented_one():
    avoid = set()
    for locale in LOCALES:
        for part in ("first", "last"):
            pool = _pool(f"{part}_romanized_name" if locale in ROMANIZED else f"{part}_name", locale)
            avoid |= {name.casefold() for name in pool if " " not in name and "-" not in name}
            avoid |= {word for name in pool for word in name.casefold().replace("-", " ").split()}
    plain = {"".join(filter(str.isascii, name)) for name in avoid}
    drawn = surrogates(0, avoid | plain)
    words = [drawn.word("first") for _ in range(3)]
    assert len(set(words)) == 3 and avoid.isdisjoint(word.casefold() for word in words)


@pytest.mark.parametrize("handle", HANDLES)
def test_emails_user_names_and_links_are_one_token(handle):
    drawn = surrogates()
    for _ in range(30):
        email, username, url = drawn.email(handle), drawn.username(handle), drawn.url(handle)
        assert (n_tokens(email), n_tokens(username), n_tokens(url)) == (1, 1, 1)
        assert email.count("@") == 1 and "@" not in username and url.startswith("http")


def test_some_emails_user_names_and_links_contain_the_name():
    drawn = surrogates()
    for draw in (drawn.email, drawn.username, drawn.url):
        assert 0 < sum("zoetwine" in draw("zoetwine") for _ in range(100)) < 100


@pytest.mark.parametrize("text", ["12-34/AB.cd", "(0)7", "Ö1ß", "", " \n", "İ²"])
def test_like_keeps_the_positions_of_digits_and_letters(text):
    for seed in range(20):
        other = surrogates(seed).like(text)
        assert len(other) == len(text)
        for old, new in zip(text, other, strict=True):
            if old.isdigit():
                assert new in string.digits
            elif old.isalpha():
                assert new in (string.ascii_uppercase if old.isupper() else string.ascii_lowercase)
            else:
                assert new == old


def test_numbers_have_five_to_thirteen_digits():
    for seed in range(100):
        number = surrogates(seed).id_number()
        digits = number.lstrip(string.ascii_uppercase)
        assert digits.isdigit() and 5 <= len(digits) <= 13 and len(number) - len(digits) <= 3


def test_a_handle_has_plain_small_letters_and_is_never_empty():
    assert handle_of("José-María Núñez") == "josemarianunez"
    assert handle_of("李 小龙") == handle_of("") == "me"

import random
import re
import string
import sys

import pytest

from pii_kit.augment.surrogates import (
    FAKER,
    LOCALES,
    NAME_WORDS,
    Surrogates,
    _new_faker,
    _pool,
)
from pii_kit.documents import english_tokenizer
from pii_kit.files import KitError
from pii_kit.labels import EMAIL, ID_NUM, NAME_STUDENT, PHONE_NUM, PII_TYPES, STREET_ADDRESS, URL_PERSONAL, USERNAME
from pii_kit.templates import FILLERS, expand_text

HANDLES = ("me", "am", "jan", "km", "anasilva", "x" * 60)


def surrogates(seed=0, avoid=()) -> Surrogates:
    return Surrogates(random.Random(seed), set(avoid))


def one_of_each(drawn: Surrogates) -> list[str]:
    values = [drawn.name("first"), drawn.name("last", "tr_TR"), drawn.word("first"), drawn.like("AB-12")]
    values += [drawn.pii(pii_type, "ann") for pii_type in PII_TYPES if pii_type != NAME_STUDENT]
    return [*values, expand_text("{company}{place}{link}", drawn.rng, drawn.slots)]


def n_tokens(text: str) -> int:
    return len(english_tokenizer()(text))


def test_equal_states_give_equal_surrogates_regardless_of_earlier_draws():
    first = one_of_each(surrogates(3))
    _pool.cache_clear()
    one_of_each(surrogates(4))
    assert one_of_each(surrogates(3)) == first != one_of_each(surrogates(4))


@pytest.mark.parametrize("part", ["first", "last"])
def test_every_locale_has_capitalised_names_in_latin_script(part):
    for locale in LOCALES:
        pool = _pool(f"{part}_romanized_name" if locale in FAKER["romanized"] else f"{part}_name", locale)
        assert sum(name[:1].isupper() for name in pool) >= 20 and max(map(max, pool)) < "\u2c00", locale


@pytest.mark.parametrize("part", ["first", "last"])
def test_names_vary_and_some_have_accents_or_are_also_words(part):
    drawn = [surrogates(seed).name(part) for seed in range(1000)]
    assert len(set(drawn)) > 500
    assert 0 < sum(not name.isascii() for name in drawn) < 500
    assert 40 < sum(name in NAME_WORDS[part] for name in drawn) < 250
    assert {"first": "Rose", "last": "King"}[part] in NAME_WORDS[part]


def test_no_two_people_share_a_name_nor_a_part_of_what_is_avoided():
    usual = {part for seed in range(60) for part in surrogates(seed).name("first").casefold().split()}
    drawn, taken = surrogates(0, usual), set(usual)
    for _ in range(300):
        parts = set(drawn.name("first", "en_NG").casefold().replace("-", " ").split())
        assert taken.isdisjoint(parts)
        taken |= parts


@pytest.mark.parametrize("handle", HANDLES)
def test_emails_user_names_and_links_are_one_token(handle):
    drawn = surrogates()
    for _ in range(30):
        email, username, url = drawn.pii(EMAIL, handle), drawn.pii(USERNAME, handle), drawn.pii(URL_PERSONAL, handle)
        assert (n_tokens(email), n_tokens(username), n_tokens(url)) == (1, 1, 1)
        assert email.count("@") == 1 and "@" not in username[1:] and "." in url


def test_emails_user_names_and_links_have_many_forms():
    drawn = surrogates()
    for pii_type in (EMAIL, USERNAME, URL_PERSONAL):
        assert 0 < sum("zoetwine" in drawn.pii(pii_type, "zoetwine") for _ in range(100)) < 100
    assert 3 < sum(drawn.pii(USERNAME, "zoe").startswith("@") for _ in range(200)) < 60
    assert 0 < sum("mailto:" in drawn.pii(EMAIL, "zoe") for _ in range(600)) < 40
    urls = [drawn.pii(URL_PERSONAL, "zoetwine") for _ in range(300)]
    assert 10 < sum("://" not in url for url in urls) < 100
    for host in ("linkedin.com", "github.com", "youtube.com", "drive.google.com", "docs.google.com", "zoetwine"):
        assert any(host in url for url in urls), host


@pytest.mark.parametrize("text", ["12-34/AB.cd", "(0)7", "Ö1ß", "", " \n", "İ²", "张伟½"])
def test_like_keeps_the_positions_of_digits_and_letters_and_none_of_them(text):
    for seed in range(20):
        other = surrogates(seed).like(text)
        assert len(other) == len(text)
        for old, new in zip(text, other, strict=True):
            letters = string.ascii_lowercase if old.islower() else string.ascii_uppercase
            kind = string.digits if old.isdigit() else letters
            assert new in kind if old.isalnum() else new == old


def form_of(text: str) -> str:
    return re.sub("[a-z]", "*", re.sub("[A-Z]", "?", re.sub(r"\d", "#", text)))


def test_numbers_have_a_known_form_and_mostly_digits_alone():
    drawn = [surrogates(seed).pii(ID_NUM) for seed in range(400)]
    assert {form_of(number) for number in drawn} <= {form_of(form) for form in FILLERS["id_num_form"]}
    assert 180 < sum(number.isdigit() for number in drawn) < 320
    assert sum(n_tokens(number) > 1 for number in drawn) < 80
    assert all(any(joint in number for number in drawn) for joint in "-/_.")


def test_phone_numbers_and_addresses_have_the_forms_of_many_countries():
    drawn = [surrogates(seed).pii(PHONE_NUM) for seed in range(400)]
    american = (r"\(\d{3}\) ?\d{3}-\d{4}", r"\d{3}\.\d{3}\.\d{4}", r".* ext\. \d+")
    for form in (*american, r"\+\d+ .*", r"0\d.*", r"[\d ]+", r"\+\d+"):
        assert any(re.fullmatch(form, number) for number in drawn), form
    assert all(sum(map(str.isdigit, number)) >= 7 for number in drawn)
    drawn = [surrogates(seed).pii(STREET_ADDRESS) for seed in range(300)]
    assert 60 < sum("\n" in address for address in drawn) < 240
    assert sum(any(map(str.isdigit, address)) for address in drawn) > 270
    assert not any({*"{}?"} & {*address} for address in drawn)


def test_a_new_type_needs_a_form_only(monkeypatch):
    monkeypatch.setitem(FILLERS, "birth_date_form", ["# {month} 19##"])
    assert re.fullmatch(r"\d \w+ 19\d\d", surrogates().pii("BIRTH_DATE"))


def test_without_faker_surrogates_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faker", None)
    _new_faker.cache_clear()
    with pytest.raises(KitError, match="pip install Faker"):
        surrogates().slots["company"]()
    _new_faker.cache_clear()

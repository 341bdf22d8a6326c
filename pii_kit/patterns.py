"""PII that a pattern finds for sure, whatever a model says: a floor for redaction, not for submissions."""

import re
from collections.abc import Callable

from pii_kit.labels import EMAIL, ID_NUM, PHONE_NUM, STREET_ADDRESS, USERNAME

Place = tuple[int, int, str]  # start, end, PII type
# Full-width signs, other hyphens and spaces: each becomes one character of ASCII, so places stay.
_PLAIN = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_PLAIN |= {ord(hyphen): ord("-") for hyphen in "\u2010\u2011\u2012\u2013\u2212"}
_PLAIN |= {ord(space): ord(" ") for space in "\u00a0\u2007\u202f\u3000"}
EXTENSION = r"(?:[ ,;]{0,2}(?:ext(?:ension)?\.?|x|#)[ .:#]{0,2}\d{1,6}(?!\d))?"

_LOCAL = r"(?<![\w.%+-])[\w.%+-]++"
_MORE = r"(?:\s+(?:dot|underscore|dash)\s+[\w%+-]++){0,4}"
_AT, _DOT = r"\s*[\[({<]\s*(?:at|@)\s*[\])}>]\s*", r"(?:\s*[\[({<]\s*(?:dot|\.)\s*[\])}>]\s*|\s+dot\s+|\.)"
_TOP = r"(?:com|org|net|edu|gov|info|biz|[a-z]{2})(?!\w)"
EMAILS = re.compile(rf"{_LOCAL}@[\w-]++(?:\.[\w-]++)+")
SPOKEN_EMAILS = re.compile(
    rf"{_LOCAL}{_MORE}(?:(?:{_AT}|\s*@\s*)[\w-]++(?:{_DOT}[\w-]+){{0,3}}{_DOT}{_TOP}"
    rf"|\s+at\s+(?!(?:the|an?|this|that|our|my|your|his|her|their)\s)[\w-]++(?:\s+dot\s+[\w-]+){{0,3}}\s+dot\s+{_TOP})",
    re.IGNORECASE,
)
HANDLES = re.compile(r"(?<![\w.@/+%-])@(?![\w.]*\.(?:com|org|net|edu)\b)[^\W\d][\w.]{1,38}\w")
# Three, three and four digits, as phone numbers of North America are written (North American Numbering Plan).
PHONES = re.compile(
    r"(?<![\w+])(?<!\w[./-])(?:\+?1[ .-]?)?(?:\(\d{3}\) ?-?|\d{3}[ .-])\d{3}[ .-]\d{4}(?!\d|-\w)"
    rf"{EXTENSION}(?!\w)"
)
FOREIGN_PHONES = re.compile(rf"(?<![\w+])\+\d{{1,3}}(?:[ ./-]?(?:\(\d{{1,5}}\)|\d{{1,14}})){{1,7}}{EXTENSION}(?!\w)")
NAMED_PHONES = re.compile(
    r"\b(?:phone|telephone|tel|mobile|cell|whatsapp|call|ring|text|fax)\b[^\d\n]{0,20}?"
    rf"(?P<place>\+?\(?\d(?:[ ./()-]{{0,2}}\d){{6,14}}(?!\d){EXTENSION})(?!\w)",
    re.IGNORECASE,
)
SOCIAL_SECURITY = re.compile(r"(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\w-])")
IBANS = re.compile(r"(?<!\w)[A-Z]{2}\d\d(?: ?[A-Z\d]{4}){2,7}(?: ?[A-Z\d]{1,3})?(?!\w)")
CARDS = re.compile(r"(?<![\w-])[2-6](?:[ -]?\d){12,18}(?![\w-])")
NAMED_IDS = re.compile(
    r"\b(?:id|ssn|social security|card|account|passport|licen[cs]e|student|matriculation|roll|registration"
    r"|member(?:ship)?)\b[^\d\n.]{0,20}?(?P<place>(?<!\w)(?:[A-Z]{1,4}-?)?\d(?:[ -]?\d){5,18}(?![\w,]))",
    re.IGNORECASE,
)
_STREET = (
    r"(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Court|Ct|Boulevard|Blvd|Terrace|Crescent|Close|Place|Way)\b\.?"
)
_NAME = r"(?:[NSEW]\.? )?(?:(?:[A-Z][\w'’]+|\d{1,3}(?:st|nd|rd|th)) ){1,3}"
_TOWN = (
    r"(?:,? (?:Apt|Unit|Suite|Flat|#)\.? ?\w{1,5}\b)?(?:, ?[A-Z][a-z]+(?: [A-Z][a-z]+)?)?(?:,? [A-Z]{2}\b)?"
    r"(?:,? \d{5}(?:-\d{4})?\b)?"
)
STREETS = re.compile(rf"(?<![\w.,/-])(?!(?:19|20)\d\d )\d{{1,5}}[A-Za-z]? {_NAME}{_STREET}{_TOWN}")
NAMED_STREETS = re.compile(
    r"\b(?:liv(?:e|es|ed|ing)|house|flat|apartment|home|resid(?:e|es|ing)|address)\b[^.\n\d]{0,20}?\b(?:on|at|in|is) "
    rf"(?P<place>{_NAME}{_STREET}{_TOWN})"
)


def _digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def is_card(text: str) -> bool:
    """Check the length and the last digit (Luhn) of a bank card's number.

    >>> is_card("4111 1111 1111 1111"), is_card("4111 1111 1111 1112")
    (True, False)
    """
    digits = _digits(text)
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits)))
    return 13 <= len(digits) <= 19 and sum(number // 10 + number % 10 for number in doubled) % 10 == 0


def is_iban(text: str) -> bool:
    """Check the check digits of an IBAN (ISO 7064).

    >>> is_iban("GB82 WEST 1234 5698 7654 32"), is_iban("GB82 WEST 1234 5698 7654 33")
    (True, False)
    """
    symbols = text.replace(" ", "")
    return len(symbols) >= 15 and int("".join(str(int(c, 36)) for c in symbols[4:] + symbols[:4])) % 97 == 1


def _is_phone(text: str) -> bool:
    return 7 <= len(_digits(re.split("[xX#e]", text)[0])) <= 15 and not _is_years(text)


def _is_years(text: str) -> bool:
    return all(re.fullmatch(r"(?:19|20)\d\d", number) for number in re.findall(r"\d+", text))


def _is_foreign_phone(text: str) -> bool:
    return _is_phone(text) and len(_digits(text)) > 8


Check = Callable[[str], bool]
# What most texts lack is looked for first: then their patterns are tried.
_FLOOR: tuple[tuple[re.Pattern, tuple[tuple[str, re.Pattern, Check | None], ...]], ...] = (
    (
        re.compile(r"@|\sdot\s|[\[({<]\s*at\s*[\])}>]", re.IGNORECASE),
        ((EMAIL, EMAILS, None), (EMAIL, SPOKEN_EMAILS, None)),
    ),
    (re.compile("@"), ((USERNAME, HANDLES, None),)),
    (
        re.compile(r"\d(?:[ ./()-]{0,3}\d){5}"),
        (
            (ID_NUM, IBANS, is_iban),
            (ID_NUM, CARDS, is_card),
            (ID_NUM, SOCIAL_SECURITY, None),
            (PHONE_NUM, FOREIGN_PHONES, _is_foreign_phone),
            (PHONE_NUM, PHONES, _is_phone),
            (PHONE_NUM, NAMED_PHONES, _is_phone),
            (ID_NUM, NAMED_IDS, lambda text: not _is_years(text)),
        ),
    ),
    (re.compile(rf" {_STREET}"), ((STREET_ADDRESS, STREETS, None), (STREET_ADDRESS, NAMED_STREETS, None))),
)


def find(text: str) -> list[Place]:
    """Return PII that is certain by its form: start, end and PII type, in order and without overlap.

    >>> find("Write to ken [at] example [dot] com or @ken_ito, SSN 219-45-6021")
    [(9, 35, 'EMAIL'), (39, 47, 'USERNAME'), (53, 64, 'ID_NUM')]
    """
    plain = text if text.isascii() else text.translate(_PLAIN)
    taken = bytearray(len(text))
    places = []
    for pii_type, pattern, is_right in (one for gate, floor in _FLOOR if gate.search(plain) for one in floor):
        for match in pattern.finditer(plain):
            start, end = match.span("place" if "place" in pattern.groupindex else 0)
            if (is_right is None or is_right(plain[start:end])) and not any(taken[start:end]):
                taken[start:end] = b"1" * (end - start)
                places.append((start, end, pii_type))
    return sorted(places)

"""Templates of what augmentation plants: lines and sentences with PII, and traps that only look like PII.

They are in templates.json, in the grammar of `pii_kit.sample.text`. A slot whose name begins with a PII type is
labelled as that type: `{NAME_STUDENT}` is the author, `{NAME_STUDENT.first}` and `{NAME_STUDENT.last}` are parts of the
name, and `{NAME_STUDENT.mate}` is a fellow student. Every other slot is labelled O: `{other}` is a person whose name is
not PII, `{title}` is a heading, `{gap}` is the document's usual line break. The number after a template is its weight.
words.json holds the vocabulary, which fills `{Noun}`, `{city}`, `{brand}` and so on.

NAME_STUDENT is the student or a fellow student. Family members, friends outside the course, colleagues, bosses,
characters and personas are labelled O, here and in `pii_kit.sample`. All templates are made up for this file.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pii_kit.lexicon import read_lexicon

Weighted = Mapping[str, float]  # template to weight


@dataclass(frozen=True)
class Story:
    """Sentences about the same people: one of `first` introduces them, the others come in any order and number."""

    first: Sequence[str]
    more: Sequence[str]
    weight: float = 1


def _read(name: str) -> dict[str, Any]:
    return json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))


@cache
def ordinary_words() -> list[str]:
    """Return words of the lexicon that are neither places nor common names, in title case, common ones more often."""
    weights = {1: 0, 2: 1, 3: 4, 4: 8}
    return [
        word.title()
        for word, (commonness, place, first, last) in sorted(read_lexicon().items())
        if len(word) > 2 and word.isascii() and not place and max(first, last) < 2
        for _ in range(weights.get(commonness, 0))
    ]


_TEMPLATES = _read("templates.json")
NAME_LINES: Weighted = _TEMPLATES["name_lines"]  # lines of their own, at the start of a document or further down
NAME_BEHIND: Weighted = _TEMPLATES["name_behind"]  # after a heading, on its line
NAME_ENDS: Weighted = _TEMPLATES["name_ends"]  # at the end
NAME_SENTENCES: Weighted = _TEMPLATES["name_sentences"]  # in running text
NAME_AGAIN: Weighted = _TEMPLATES["name_again"]  # the same name once more
NAME_STORIES = [Story(**story) for story in _TEMPLATES["name_stories"]]  # students named several times in the text
LINES: Mapping[str, Weighted] = _TEMPLATES["lines"]  # of the other types, by type
TRAP_LINES: Weighted = _TEMPLATES["trap_lines"]
TRAP_SENTENCES: Weighted = _TEMPLATES["trap_sentences"]
TRAP_STORIES = [Story(**story) for story in _TEMPLATES["trap_stories"]]  # other people named several times
# Sentences of the stories, by the slot that draws one of them.
STORY_SENTENCES: Mapping[str, list[str]] = {name: _TEMPLATES[name] for name in ("mates_did", "other_did")}
HEADINGS: Weighted = _TEMPLATES["headings"]
# "#" stands for a digit, "?" for a capital letter, "*" for a small letter.
ID_FORMS: Weighted = _TEMPLATES["id_forms"]
PHONE_FORMS: Weighted = _TEMPLATES["phone_forms"]
URL_FORMS: Weighted = _TEMPLATES["url_forms"]
LINK_FORMS: list[str] = _TEMPLATES["link_forms"]  # not personal
STREETS: Weighted = _TEMPLATES["streets"]
ADDRESSES: Weighted = _TEMPLATES["addresses"]
VOCABULARY: Mapping[str, list[str]] = _read("words.json")
NAME_WORDS = {part: tuple(VOCABULARY[f"name_words_{part}"]) for part in ("first", "last")}  # names that are also words
WORDS: Mapping[str, list[str]] = {**VOCABULARY, **_TEMPLATES["words"]}  # what fills the slots that are not PII
FILLERS: Mapping[str, list[str]] = {**WORDS, **STORY_SENTENCES}


def pick(rng: random.Random, weighted: Weighted) -> str:
    """Draw one of the keys by weight."""
    return rng.choices(list(weighted), list(weighted.values()))[0]


def pick_story(rng: random.Random, stories: Sequence[Story]) -> Story:
    """Draw a story by weight."""
    return rng.choices(stories, [story.weight for story in stories])[0]


@cache
def lower(slot: str) -> tuple[str, ...]:
    """Return the words of a slot in lower case."""
    return tuple(word.lower() for word in VOCABULARY[slot])

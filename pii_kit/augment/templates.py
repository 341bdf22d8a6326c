"""Templates of what augmentation plants: lines and sentences with PII, and traps that only look like PII.

They are in templates.json, in the grammar of `pii_kit.sample.text`. A slot whose name begins with a PII type is
labelled as that type: `{NAME_STUDENT}` is the author, `{NAME_STUDENT.first}` and `{NAME_STUDENT.last}` are parts of the
name, and `{NAME_STUDENT.mate}` is a fellow student. Every other slot is labelled O: `{other}` is a person whose name is
not PII, `{title}` is a heading, `{gap}` is the document's usual line break. The number after a template is its weight.

NAME_STUDENT is the student or a fellow student. Family members, friends outside the course, colleagues and bosses are
labelled O, here and in `pii_kit.sample`. All templates are made up for this file.
"""

import json
import random
from collections.abc import Mapping
from pathlib import Path

Weighted = Mapping[str, float]  # template to weight

_TEMPLATES = json.loads(Path(__file__).with_name("templates.json").read_text(encoding="utf-8"))
NAME_LINES: Weighted = _TEMPLATES["name_lines"]  # lines of their own, at the start of a document or further down
NAME_BEHIND: Weighted = _TEMPLATES["name_behind"]  # after a heading, on its line
NAME_ENDS: Weighted = _TEMPLATES["name_ends"]  # at the end
NAME_SENTENCES: Weighted = _TEMPLATES["name_sentences"]  # in running text
NAME_AGAIN: Weighted = _TEMPLATES["name_again"]  # the same name once more
LINES: Mapping[str, Weighted] = _TEMPLATES["lines"]  # of the other types, by type
TRAP_LINES: list[str] = _TEMPLATES["trap_lines"]
TRAP_SENTENCES: list[str] = _TEMPLATES["trap_sentences"]
WORDS: Mapping[str, list[str]] = _TEMPLATES["words"]  # what fills the slots that are not PII
TITLE_WORDS: list[list[str]] = _TEMPLATES["title_words"]  # a heading is one word of each list


def pick(rng: random.Random, weighted: Weighted) -> str:
    """Draw one of the keys by weight."""
    return rng.choices(list(weighted), list(weighted.values()))[0]

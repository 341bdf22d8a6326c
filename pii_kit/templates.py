"""The grammar of made-up text, which `pii_kit.sample` and `pii_kit.augment` share.

In a template `[a|b]` draws one of its alternatives, and `{slot}` looks up a slot. A slot whose name begins with a PII
type is labelled as that type: `{NAME_STUDENT}` is the author, `{NAME_STUDENT.first}` and `{NAME_STUDENT.last}` are
parts of the name, `{NAME_STUDENT.mate}` is a fellow student. Every other slot is labelled O. The same names, numbers
and links fill both kinds of slot, so only the context tells them apart.

NAME_STUDENT is the student or a fellow student. Family members, friends outside the course, colleagues, bosses,
characters and personas are labelled O.

New lines are data. The files in `phrases/` were made up for this package:

- `planted.json`: what augmentation plants and where; a new kind of trap is an entry of `traps`.
- `essays.json`: the lines of made-up documents, how many there are, and where.
- `topics.json`: kinds of documents; an entry of a kind replaces the one of `essays.json`.
- `fillers.json`: what fills slots; a new slot is a list of templates, or templates with their weights.
- `faker.json`: the locales of names, streets and towns, and the providers of Faker that are slots.
"""

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pii_kit.documents import Span
from pii_kit.labels import PII_TYPES

CHOICE = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{([\w.]+)\}")
Slots = Mapping[str, str | Callable[[], str]]  # a text, or a function that draws a new text each time
Options = Sequence[str] | Mapping[str, float]  # texts, or texts with their weights


def read_phrases(name: str) -> dict[str, Any]:
    """Return the content of a file in `phrases/`."""
    return json.loads((Path(__file__).parent / "phrases" / f"{name}.json").read_text(encoding="utf-8"))


FILLERS: Mapping[str, Options] = read_phrases("fillers")


def pick(rng: random.Random, options: Options) -> str:
    """Draw an item of a list, or a key of a mapping by its weight."""
    if isinstance(options, Mapping):
        return rng.choices(list(options), list(options.values()))[0]
    return rng.choice(options)


def expand(template: str, rng: random.Random, slots: Slots) -> list[Span]:
    """Expand a template into spans of (text, PII type or None).

    A slot is looked up in `slots`, and then in FILLERS, whose items are templates themselves.

    Raises:
        KeyError: a slot is in neither.

    >>> expand("[Hi|Hello], I am {NAME_STUDENT}.", random.Random(1), {"NAME_STUDENT": "Ana Silva"})
    [('Hi, I am ', None), ('Ana Silva', 'NAME_STUDENT'), ('.', None)]
    """
    while "[" in template and CHOICE.search(template):
        template = CHOICE.sub(lambda match: rng.choice(match[1].split("|")), template)
    spans: list[Span] = []
    for position, part in enumerate(SLOT.split(template)):
        if position % 2 == 0:
            spans.append((part, None))
        elif part in slots:
            text, root = slots[part], part.partition(".")[0]
            spans.append((text if isinstance(text, str) else text(), root if root in PII_TYPES else None))
        else:
            spans.extend(expand(pick(rng, FILLERS[part]), rng, slots))
    return [span for span in spans if span[0]]


def expand_text(template: str, rng: random.Random, slots: Slots) -> str:
    """Expand a template into its text alone."""
    return "".join(text for text, _ in expand(template, rng, slots))

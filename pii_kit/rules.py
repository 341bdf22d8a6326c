"""Rules of the competition's winners, on labels that are decided: what a threshold on single tokens cannot know.

A rule takes a document, its labels (token) and its probabilities (token, label), and returns new labels. Each leaves
valid BIO valid, changes none of its arguments, and does nothing more when it is applied twice.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from pii_kit.data import Document
from pii_kit.decide import decide
from pii_kit.errors import KitError
from pii_kit.rules_additions import add_author_lines, add_emails, add_phones, add_urls
from pii_kit.rules_format import (
    course_links_are_not_personal,
    emails_have_at,
    id_length,
    long_digits_are_ids,
    urls_look_like_urls,
)
from pii_kit.rules_lone_names import propagate_lone_names
from pii_kit.rules_names import extend_names, names_are_title_case, propagate_name_parts, propagate_names
from pii_kit.rules_spans import (
    Rule,
    fill_address_gaps,
    one_type_per_span,
    rebuild_boundaries,
    whitespace_is_outside,
)

# In this order: spans are made whole, then what cannot be is dropped, then what is missing is added. Names spread last,
# so that no wrong one does.
RULES: Mapping[str, Rule] = MappingProxyType(
    {
        rule.__name__: rule
        for rule in (
            one_type_per_span,
            rebuild_boundaries,
            fill_address_gaps,
            whitespace_is_outside,
            long_digits_are_ids,
            names_are_title_case,
            emails_have_at,
            id_length,
            urls_look_like_urls,
            course_links_are_not_personal,
            add_emails,
            add_phones,
            add_urls,
            add_author_lines,
            extend_names,
            propagate_names,
            propagate_name_parts,
            propagate_lone_names,
        )
    }
)


def apply_rules(
    document: Document, labels: Sequence[str], probabilities: np.ndarray, names: Sequence[str]
) -> list[str]:
    """Labels of a document after the named rules, applied in RULES' order whatever the order of the names.

    Raises KitError for a name that is no rule's.
    """
    unknown = [name for name in names if name not in RULES]
    if unknown:
        raise KitError(f"{', '.join(map(repr, unknown))}: no such rule; there are {', '.join(RULES)}")
    result = list(labels)
    for name, rule in RULES.items():
        if name in names:
            result = rule(document, result, probabilities)
    return result


# What pays on out-of-fold probabilities of real essays; submissions/README.md has each rule's gain and cost.
DEFAULT_RULES: tuple[str, ...] = (
    "whitespace_is_outside",
    "names_are_title_case",
    "emails_have_at",
    "id_length",
    "course_links_are_not_personal",
    "add_emails",
    "propagate_lone_names",
)


def label_document(
    document: Document, probabilities: np.ndarray, *, o_threshold: float, rules: Sequence[str] = DEFAULT_RULES
) -> list[str]:
    """A document and its probabilities (token, label) to its labels (token): the cut-off on P(O), then the rules."""
    return apply_rules(document, decide(probabilities, o_threshold=o_threshold), probabilities, rules)

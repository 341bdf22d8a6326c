"""The seven types of PII and their BIO labels: the only place where labels are typed."""

PII_TYPES = ("NAME_STUDENT", "EMAIL", "USERNAME", "ID_NUM", "PHONE_NUM", "URL_PERSONAL", "STREET_ADDRESS")
OUTSIDE = "O"
LABELS = (OUTSIDE, *(f"{prefix}-{pii_type}" for pii_type in PII_TYPES for prefix in "BI"))
LABEL_TO_ID = {label: index for index, label in enumerate(LABELS)}
OUTSIDE_ID = LABEL_TO_ID[OUTSIDE]


def type_of(label: str) -> str | None:
    """The PII type of a label, None for O.

    >>> type_of("I-PHONE_NUM"), type_of("O")
    ('PHONE_NUM', None)
    """
    return None if label == OUTSIDE else label[2:]


def spans_of(labels) -> list[tuple[int, int, str]]:
    """Labels of a document to its entities: (first token, end token, type). An I- without its B- starts an entity.

    >>> spans_of(["O", "B-EMAIL", "B-NAME_STUDENT", "I-NAME_STUDENT"])
    [(1, 2, 'EMAIL'), (2, 4, 'NAME_STUDENT')]
    """
    spans = []
    for index, label in enumerate(labels):
        if label == OUTSIDE:
            continue
        pii_type = type_of(label)
        continues = label.startswith("I-") and spans and spans[-1][1] == index and spans[-1][2] == pii_type
        if continues:
            spans[-1] = (spans[-1][0], index + 1, pii_type)
        else:
            spans.append((index, index + 1, pii_type))
    return spans

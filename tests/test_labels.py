from pii_kit.labels import LABELS, OUTSIDE_ID, PII_TYPES, spans_of


def test_there_are_a_b_and_an_i_for_each_of_seven_types_and_o():
    assert len(PII_TYPES) == 7
    assert len(LABELS) == len(set(LABELS)) == 15
    assert {f"{prefix}-{pii_type}" for prefix in "BI" for pii_type in PII_TYPES} | {"O"} == set(LABELS)
    assert LABELS[OUTSIDE_ID] == "O"


def test_a_span_ends_at_o_at_b_and_at_another_type():
    labels = ["B-EMAIL", "B-EMAIL", "O", "I-ID_NUM", "I-ID_NUM", "I-EMAIL"]
    assert spans_of(labels) == [(0, 1, "EMAIL"), (1, 2, "EMAIL"), (3, 5, "ID_NUM"), (5, 6, "EMAIL")]

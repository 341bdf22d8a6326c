from dataclasses import replace

import numpy as np
import pytest
from conftest import make_document

from pii_kit.labels import LABEL_TO_ID
from pii_kit.report.compare import rule_table
from pii_kit.rules import DEFAULT_RULES, RULES


def test_each_rule_is_weighed_alone_against_the_cut_off_without_rules():
    """Of three true rows two are found, with one false alarm; a rule finds the third, another adds two false alarms."""
    text = "Ana Berg wrote Ana Berg from ana@berg.com to tea"
    document = make_document(text, labels={"ana@berg.com": "B-EMAIL"})
    document = replace(document, labels=("B-NAME_STUDENT", "I-NAME_STUDENT", *document.labels[2:]))
    said = ["B-NAME_STUDENT", "I-NAME_STUDENT", "O", "O", "O", "O", "O", "B-USERNAME", "O"]
    scores = np.eye(15, dtype=np.float32)[[LABEL_TO_ID[label] for label in said]]
    table = rule_table([(document, scores)], o_threshold=0.5)
    assert list(table.index) == list(RULES)
    before = 26 * 2 / (26 * 2 + 25 + 1)
    assert table.loc["add_emails"].tolist()[:3] == [pytest.approx(26 * 3 / (26 * 3 + 1) - before), 1, 0]
    assert table.loc["propagate_names"].tolist()[:3] == [pytest.approx(26 * 2 / (26 * 2 + 25 + 3) - before), 0, 2]
    assert table.loc["emails_have_at"].tolist()[:3] == [0, 0, 0]
    assert set(table.index[table["default"]]) == set(DEFAULT_RULES)

"""What each rule of decision gives and costs, on probabilities for essays that no model was trained on."""

import pandas as pd

from pii_kit.metrics import Predictions, decided_rows, micro_fbeta
from pii_kit.rules import DEFAULT_RULES, RULES
from pii_kit.submission import true_rows


def rule_table(predictions: Predictions, *, o_threshold: float) -> pd.DataFrame:
    """Labelled documents with their probabilities to a line per rule, applied alone to the labels of one cut-off.

    Columns: the change of F5, of right rows (tp) and of false alarms (fp), and whether the rule is in the default.
    """
    truth = true_rows(document for document, _ in predictions)
    before = micro_fbeta(truth, decided_rows(predictions, o_threshold=o_threshold))
    lines = {}
    for name in RULES:
        after = micro_fbeta(truth, decided_rows(predictions, o_threshold=o_threshold, rules=[name]))
        lines[name] = (after.f - before.f, after.tp - before.tp, after.fp - before.fp, name in DEFAULT_RULES)
    table = pd.DataFrame.from_dict(lines, orient="index", columns=["f5", "tp", "fp", "default"])
    return table.rename_axis("rule")

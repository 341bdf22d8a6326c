"""Redact essays: replace their PII, find what a label missed, check the released text, and restore the original."""

from pii_kit.redact.document import MODES, Change, Redacted, Redaction, redact_document, redact_text

__all__ = ["MODES", "Change", "Redacted", "Redaction", "redact_document", "redact_text"]

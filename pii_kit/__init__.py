"""Find personally identifiable information in student essays.

`Tagger` labels texts, with the tagger that comes with the kit or with trained runs, `redact_text` replaces what it
finds, and `read_documents` reads essays in the competition's format:

    from pii_kit import Redaction, Tagger, redact_text

    tagger = Tagger.load()
    spans = tagger.label("My name is Ana Silva.")
    text = redact_text("My name is Ana Silva.", tagger, Redaction(mode="surrogate"))

A good order to read the modules in, as data flow one way:

    labels → documents → pieces → windows → models → predict → decide → rules → submission → metrics
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pii_kit.documents import read_documents
    from pii_kit.predict import PiiSpan, Tagger
    from pii_kit.redact import Redaction, redact_text

__all__ = ["PiiSpan", "Redaction", "Tagger", "read_documents", "redact_text"]

# Lets torch count GPUs without initialising CUDA, which this process never uses while others train.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

__version__ = "0.2.0"

_MODULES = {
    "PiiSpan": "pii_kit.predict",
    "Redaction": "pii_kit.redact",
    "Tagger": "pii_kit.predict",
    "read_documents": "pii_kit.documents",
    "redact_text": "pii_kit.redact",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: a plain `import pii_kit` loads neither torch nor spaCy."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)

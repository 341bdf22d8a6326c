"""An ensemble's taggers on one device, timed, with as large batches as its memory takes."""

import logging
import time
from collections.abc import Sequence

import numpy as np
import torch

from pii_kit.data import Document
from pii_kit.ensemble import Ensemble
from pii_kit.predict import Tagger, predict_group

BATCH_SIZE = 16  # windows, to begin with

logger = logging.getLogger(__name__)


class DeviceTaggers:
    """The taggers of an ensemble on a device, to be asked one at a time, by their places."""

    def __init__(self, ensemble: Ensemble, device: str | torch.device):
        self.taggers = ensemble.on(device).taggers
        self.batch_size = BATCH_SIZE
        self._warm: set[int] = set()

    def ask(self, place: int, documents: Sequence[Document]) -> tuple[list[np.ndarray], float]:
        """Documents to one tagger's probabilities (token, label) for each, and the seconds that it took.

        A device's first use of a model, which sets up its kernels, is made on the shortest document and not timed.
        """
        tagger = self.taggers[place]
        if place not in self._warm:
            self._predict(tagger, [min(documents, key=lambda document: len(document.tokens) or np.inf)])
            self._warm.add(place)
        began = time.monotonic()
        return self._predict(tagger, documents), time.monotonic() - began

    def _predict(self, tagger: Tagger, documents: Sequence[Document]) -> list[np.ndarray]:
        """Half as large batches from the first on that does not fit into the device's memory.

        accelerate's find_executable_batch_size would empty the cache and collect garbage before every call too, not
        only after an error.
        """
        while True:
            try:
                return predict_group(tagger, documents, batch_size=self.batch_size)
            except torch.OutOfMemoryError:
                if self.batch_size == 1:
                    raise
            self.batch_size //= 2
            torch.cuda.empty_cache()
            logger.info("out of memory: from now on batches of %d windows", self.batch_size)

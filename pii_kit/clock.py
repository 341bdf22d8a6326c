"""When a training must stop, so that what it has can still be validated and saved."""

import math
import time

SECONDS_TO_SAVE = 5.0


class Clock:
    """Measures how long batches take, and says when the time left is what the end of a training will take.

    `deadline` is a time of `time.monotonic`, None for no limit. `validation_share` is the number of validation
    documents beside that of the training documents.
    """

    def __init__(self, deadline: float | None, *, validation_share: float):
        self.deadline, self.validation_share = deadline, validation_share
        self.first = math.nan  # when the first batch was there: before it essays are made, which takes seconds
        self.n_batches = 0

    def is_over(self, batches_per_epoch: float) -> bool:
        """To be asked once a batch. Validating takes at most as long as training on as many windows would."""
        if self.deadline is None:
            return False
        now = time.monotonic()
        if not self.n_batches:
            self.first = now
        to_validate = (now - self.first) / max(self.n_batches, 1) * batches_per_epoch * self.validation_share
        self.n_batches += 1
        return now + to_validate + SECONDS_TO_SAVE >= self.deadline

"""Train taggers, keep them in run folders, and use what they predict out of fold. `train.train` is the beginning."""

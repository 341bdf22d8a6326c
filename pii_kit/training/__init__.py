"""Train taggers: settings, the loop, run folders, folds, ensembles."""

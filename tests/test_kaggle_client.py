from kaggle_stub import stub  # noqa: F401

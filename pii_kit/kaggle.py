"""The platform: where Kaggle puts what is attached, and where its results are to be written."""

import os
from pathlib import Path

COMPETITION = "pii-detection-removal-from-educational-data"
INPUT = Path("/kaggle/input")
WORKING = Path("/kaggle/working")


def on_kaggle() -> bool:
    """Whether this is a Kaggle notebook; its image sets KAGGLE_KERNEL_RUN_TYPE to Interactive or Batch."""
    return "KAGGLE_KERNEL_RUN_TYPE" in os.environ


def input_folders(root: Path = INPUT) -> list[Path]:
    """The attached folders that hold a test.json: the competition's mount, old or new, before any other."""
    known = [root / "competitions" / COMPETITION, root / COMPETITION]
    if not root.is_dir():
        return []
    others = sorted(path.parent for path in root.rglob("test.json"))
    return [folder for folder in dict.fromkeys([*known, *others]) if (folder / "test.json").is_file()]

"""Wheels for a machine without internet: the package itself, and what Kaggle's image lacks."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from pii_kit.errors import KitError

SECONDS = 600  # that pip may take
EARLIEST = 315532800  # 1980, the first date that a zip can hold: equal sources give equal wheels, byte for byte


def build_wheel(root: Path, into: Path) -> None:
    """The wheel of the package in the checkout `root`, without its dependencies, into a folder.

    No network: setuptools is at hand wherever torch is, which requires a recent one. Raises KitError if there is no
    checkout, or with what pip says.
    """
    for name in ("pyproject.toml", "README.md", "LICENSE", "pii_kit"):
        if not (root / name).exists():
            raise KitError(f"{root.resolve()}: not a checkout of the kit: {name} is missing")
    with TemporaryDirectory() as place:
        # In a copy, for setuptools leaves build/ beside the sources and packs again what once lay there. Only contents
        # are copied: modes and times of a checkout differ from machine to machine.
        copy = Path(place) / "pii_kit"
        sources = [root / "pyproject.toml", root / "README.md", root / "LICENSE", *sorted(root.glob("pii_kit/*.py"))]
        for source in sources:
            target = copy / source.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            target.chmod(0o644)
        _pip(
            ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(into), str(copy)],
            {"SOURCE_DATE_EPOCH": str(EARLIEST)},
        )


def download_wheels(names: Sequence[str], pins: Path, into: Path) -> None:
    """Wheels of these distributions alone, in the versions that the file `pins` has, from pip's index into a folder.

    Raises KitError for a version that is not pinned, for a wheel that is not pure Python, or with what pip says.
    """
    pinned = pins.read_text(encoding="utf-8").splitlines()
    wanted = [line for line in pinned if line.split("==")[0] in names]
    if len(wanted) < len(names):
        found = [line.split("==")[0] for line in wanted]
        raise KitError(f"{pins}: does not pin {', '.join(name for name in names if name not in found)}")
    if not wanted:
        return
    _pip(["download", "--no-deps", "--only-binary", ":all:", "--dest", str(into), *wanted], {})
    for wheel in into.glob("*.whl"):
        if not wheel.name.endswith("py3-none-any.whl"):
            raise KitError(
                f"{wheel.name}: made for one Python or platform, and Kaggle has its own; expected py3-none-any"
            )


def _pip(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    what = f"pip {arguments[0]}"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise KitError(f"{what}: not done after {SECONDS} s") from None
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in said if line.lower().startswith("error")] or said or ["no word from it"]
        raise KitError(f"{what}: {'; '.join(dict.fromkeys(errors))[:500]}")

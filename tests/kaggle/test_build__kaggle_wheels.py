import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pii_kit.files import KitError
from pii_kit.kaggle.build import build_wheel, download_wheels

ROOT = Path(__file__).parents[2]


def test_the_wheels_install_and_import_without_a_network(built_kit, tmp_path):
    wheels = sorted(map(str, (built_kit / "datasets" / "pii-kit-package").glob("*.whl")))
    assert len(wheels) == 2
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", str(tmp_path)]
    subprocess.run([*install, *wheels], check=True)
    modules = {path.name for path in (ROOT / "pii_kit").glob("*.py")}
    assert {path.name for path in (tmp_path / "pii_kit").glob("*.py")} == modules
    code = "import pii_kit.labels, faker; print(pii_kit.__file__, faker.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.count(str(tmp_path)) == 2, done.stderr


def test_equal_sources_give_equal_wheels_and_the_checkout_stays_as_it_was(built_kit, tmp_path):
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "pii_kit", checkout / "pii_kit", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, checkout / name)
    (checkout / "pii_kit" / "errors.py").chmod(0o600)
    (checkout / "build" / "lib" / "pii_kit").mkdir(parents=True)
    (checkout / "build" / "lib" / "pii_kit" / "long_gone.py").touch()
    before = sorted(checkout.rglob("*"))
    build_wheel(checkout, tmp_path / "out")
    (wheel,) = (tmp_path / "out").iterdir()
    assert wheel.read_bytes() == (built_kit / "datasets" / "pii-kit-package" / wheel.name).read_bytes()
    assert sorted(checkout.rglob("*")) == before


def test_a_folder_that_is_no_checkout_is_named(tmp_path):
    with pytest.raises(KitError, match=r"not a checkout of the kit: pyproject.toml is missing"):
        build_wheel(tmp_path, tmp_path / "out")


def test_only_pinned_wheels_are_downloaded(tmp_path, wheels_at_hand):
    (tmp_path / "pins.txt").write_text("Faker==40.54.0\nother==1\n")
    download_wheels(["Faker"], tmp_path / "pins.txt", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["faker-40.54.0-py3-none-any.whl"]
    with pytest.raises(KitError, match=r"pins.txt: does not pin tzdata, seven"):
        download_wheels(["tzdata", "Faker", "seven"], tmp_path / "pins.txt", tmp_path / "out")


def test_what_pip_says_comes_in_one_line(tmp_path, wheels_at_hand):
    (tmp_path / "pins.txt").write_text("Faker==1.0\n")
    with pytest.raises(KitError, match=r"^pip download: ERROR: .*Faker==1.0[^\n]*$"):
        download_wheels(["Faker"], tmp_path / "pins.txt", tmp_path / "out")


def test_a_wheel_for_one_python_is_refused(tmp_path, monkeypatch, built_kit):
    (faker,) = (built_kit / "datasets" / "pii-kit-package").glob("faker-*.whl")
    links = tmp_path / "links"
    links.mkdir()
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    shutil.copyfile(faker, links / faker.name.replace("py3-none-any", f"{tag}-none-any"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    (tmp_path / "pins.txt").write_text("Faker==40.54.0\n")
    with pytest.raises(KitError, match="made for one Python"):
        download_wheels(["Faker"], tmp_path / "pins.txt", tmp_path / "out")

# install: set up .venv, which the others do first. demo: the five notebooks on made-up essays.
# bench: the speed of the demo's runs. test, lint: what CI runs. notebooks: JupyterLab.
PYTHON ?= python3

.PHONY: install demo bench test lint notebooks
install: .venv/ready
demo: .venv/ready ; .venv/bin/pii-kit demo
bench: .venv/ready ; .venv/bin/python -m tests.benchmarks
test: .venv/ready ; .venv/bin/python -m pytest -n 2 --dist worksteal
lint: .venv/ready
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/nbstripout --verify notebooks/*.ipynb
	.venv/bin/lint-imports && .venv/bin/mypy
notebooks: .venv/ready ; .venv/bin/jupyter lab notebooks

.venv/ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install -r requirements.txt -e .
	touch $@

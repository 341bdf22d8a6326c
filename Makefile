# install: set up .venv, which the others do first. demo: the five notebooks on made-up essays.
# bench: the speed of the demo's runs. test, lint: what CI runs. notebooks: JupyterLab.
# test-kaggle: notebooks 02 and 04 and the tests of models and prediction with the versions of Kaggle's image.
PYTHON ?= python3
KAGGLE_PAPERMILL = cd notebooks && ../.venv-kaggle/bin/papermill --log-level ERROR --no-progress-bar -k python3
KAGGLE_OUT = ../outputs/kaggle

.PHONY: install demo bench test test-kaggle lint notebooks
install: .venv/ready
demo: .venv/ready ; .venv/bin/pii-kit demo
bench: .venv/ready ; .venv/bin/python -m tests.benchmarks
test: .venv/ready ; .venv/bin/python -m pytest -n 2 --dist worksteal
lint: .venv/ready
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/nbstripout --verify notebooks/*.ipynb
	.venv/bin/lint-imports && .venv/bin/mypy
notebooks: .venv/ready ; .venv/bin/jupyter lab notebooks

test-kaggle: .venv-kaggle/ready
	.venv-kaggle/bin/python -m pytest -n 2 tests/models tests/test_predict.py tests/test_windows.py tests/test_pieces.py
	rm -rf outputs/kaggle && mkdir -p outputs/kaggle
	$(KAGGLE_PAPERMILL) 02_train_sha_rnn.ipynb $(KAGGLE_OUT)/02.ipynb -p OUT $(KAGGLE_OUT) -p DOCUMENTS 24 \
	  -p PRESET cpu -p EPOCHS 1 -p FOLDS 2
	$(KAGGLE_PAPERMILL) 04_inference.ipynb $(KAGGLE_OUT)/04.ipynb -p OUT $(KAGGLE_OUT) -p DOCUMENTS 24 \
	  -p SUBMISSION $(KAGGLE_OUT)/submission.csv

.venv/ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install -r requirements.txt -e .
	touch $@

.venv-kaggle/ready: tests/kaggle_image.txt pyproject.toml
	$(PYTHON) -m venv --clear .venv-kaggle
	.venv-kaggle/bin/python -m pip install -c tests/kaggle_image.txt -e '.[onnx]' \
	  papermill ipykernel ipywidgets pytest pytest-xdist hypothesis
	touch $@

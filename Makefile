# Every target makes its own virtual environment; nothing but Python 3.11+ and a compiler is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TORCH_STAMP := $(VENV)/.oracles

.PHONY: help demo test lint docs format wheel bench fuzz clean
help:            ## show this list
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(STAMP): pyproject.toml setup.py $(wildcard weigh/kernels/*.[ch])
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,measure]'
	@touch $@

$(TORCH_STAMP): $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check 'torch==2.13.0' 'transformers==5.23.0'
	@touch $@

demo: $(STAMP)   ## weigh a real trained model end to end
	$(BIN)/python -m benchmarks.demo

test: $(TORCH_STAMP) ## run the suite, oracles included
	$(BIN)/python -m pytest -n auto

lint: $(STAMP)   ## style, types, the order of imports, generated docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.generate --check

docs: $(STAMP)   ## regenerate README and the generated pages
	$(BIN)/python -m docs.generate

format: $(STAMP) ## let ruff rewrite the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(STAMP)  ## build what would be published
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

bench: $(TORCH_STAMP) ## predictions against what llama.cpp reports on this machine; weigh's readers against others
	$(BIN)/python -m benchmarks.llama_cpp_memory
	$(BIN)/python -m benchmarks.readers

FUZZ_SECONDS ?= 60
fuzz: $(STAMP)   ## look for files that a reader cannot take, FUZZ_SECONDS for each format
	$(BIN)/pip install --quiet --disable-pip-version-check atheris
	set -e; for seed in $$($(BIN)/python -m tests.hostile.fuzz); do \
		$(BIN)/python -m tests.hostile.fuzz $$seed build/fuzz/$$seed -artifact_prefix=build/fuzz/ -max_total_time=$(FUZZ_SECONDS); \
	done

clean:           ## remove what the other targets made
	rm -rf $(VENV) build dist *.egg-info weigh/kernels/_kernels.* .mypy_cache .pytest_cache .ruff_cache .hypothesis

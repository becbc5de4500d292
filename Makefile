# Two commands: `make demo` and `make test`. Each sets up everything it needs in .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/bash

# Where demo and tests keep the model, so that it is fetched once. Your own device's home is left alone.
CHECKOUT_HOME := $(CURDIR)/.verity
VERITY_TEST_BUDGET_S ?= 2400

# The portable build: every x86-64 machine with AVX2 computes the same bits (spec/numerics.md).
LLAMA_FLAGS := -DGGML_NATIVE=OFF -DGGML_LLAMAFILE=OFF -DGGML_CPU_REPACK=OFF -DLLAVA_BUILD=OFF

INPUTS := $(shell cat requirements/*.txt pyproject.toml Makefile | cksum | cut -d' ' -f1)
LLAMA := $(VENV)/.llama-$(shell cat requirements/llama.txt requirements/build.txt | cksum | cut -d' ' -f1)-$(shell echo '$(LLAMA_FLAGS)' | cksum | cut -d' ' -f1)
READY := $(VENV)/.ready-$(INPUTS)
TPM := $(VENV)/.tpm-$(shell cat requirements/tpm.txt requirements/tpm-build.txt | cksum | cut -d' ' -f1)
MODEL := $(CHECKOUT_HOME)/.model-pulled

# The reference implementation of OpenSSF Model Signing, for tests alone: its requirements contradict ours.
REFERENCE := .venv-model-signing
REFERENCE_READY := $(REFERENCE)/.ready-$(shell cksum < requirements/model-signing.txt | cut -d' ' -f1)

PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo packages reference tpm test test-slow lint bench rivals fuzz setup lock clean help

help:
	@echo "make demo    ask the local model, get a receipt, verify it by replay"
	@echo "make test    run the tests (lint included)"
	@echo "make lint    ruff, mypy, import-linter"
	@echo "make bench   the figures that the performance claims rest on"
	@echo "make rivals  TOPLOC and torch, for the head to head (docs/concepts/head-to-head.md)"
	@echo "make fuzz    fuzz every parser of outside bytes, SECONDS=60 each (docs/fuzzing.md)"
	@echo "make setup   only set up .venv"
	@echo "make lock    resolve the requirements again (needs uv)"

demo: $(READY)
	@VERITY_HOME="$${VERITY_HOME:-$(CHECKOUT_HOME)}" $(BIN)/python examples/demo.py

# What tests of other people's clients need from the system. Without it they are skipped, by name.
packages:
	@sh tests/install-packages.sh

# tpm2-pytss is compiled against the headers of tpm2-tss, where they are. Without it tests with a TPM are skipped, by name.
tpm: $(READY)
	@[ -e $(TPM) ] || ! pkg-config --exists tss2-esys 2>/dev/null || { \
	  $(PIP) install --quiet --require-hashes --only-binary :all: -r requirements/tpm-build.txt && \
	  PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) install --quiet --require-hashes --no-deps --no-build-isolation \
	    --no-binary tpm2-pytss -r requirements/tpm.txt && rm -f $(VENV)/.tpm-* && touch $(TPM); } || \
	  echo "tpm2-pytss could not be compiled: tests with a TPM are skipped" >&2

test: packages lint tpm $(MODEL) reference
	@VERITY_MODEL="$${VERITY_MODEL:-$$(cat $(MODEL))}" $(BIN)/python -m pytest -m "not slow"
	@VERITY_MODEL="$${VERITY_MODEL:-$$(cat $(MODEL))}" $(BIN)/python -m pytest -m slow --budget-s $(VERITY_TEST_BUDGET_S)

# Without it its tests are skipped, by name; in CI they fail.
reference: $(READY)
	@test -e $(REFERENCE_READY) || { rm -rf $(REFERENCE) && $(BIN)/python -m venv $(REFERENCE) && \
	  $(REFERENCE)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --only-binary :all: \
	  -r requirements/model-signing.txt && touch $(REFERENCE_READY); } || \
	  { rm -rf $(REFERENCE); echo "model_signing could not be installed: its tests are skipped" >&2; }

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

bench: $(READY) $(MODEL)
	@$(PIP) install --quiet --require-hashes --only-binary :all: -r requirements/bench.txt
	@VERITY_MODEL="$${VERITY_MODEL:-$$(cat $(MODEL))}" $(BIN)/python benchmarks/startup.py --json
	@VERITY_MODEL="$${VERITY_MODEL:-$$(cat $(MODEL))}" $(BIN)/python benchmarks/receipts.py --json
	@VERITY_MODEL="$${VERITY_MODEL:-$$(cat $(MODEL))}" $(BIN)/python benchmarks/serve.py --json
	@$(BIN)/python benchmarks/log.py --json

# TOPLOC for benchmarks/head_to_head.py: compiled against the torch that is installed, since its wheel is for an older one.
rivals: $(READY)
	@$(PIP) install --quiet -r requirements/rivals.txt
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) install --quiet --no-deps --no-build-isolation --no-cache-dir --no-binary toploc toploc==0.1.6

SECONDS ?= 60
fuzz: $(READY)
	@$(PIP) install --quiet --require-hashes --only-binary :all: -r requirements/fuzz.txt
	@$(BIN)/python -m fuzz --seconds $(SECONDS)

setup: $(READY)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Verity needs Python 3.11 or newer: make PYTHON=python3.11 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# llama.cpp is compiled here (about 3 minutes on 2 cores). --no-cache-dir: pip would reuse a wheel built with other flags.
$(LLAMA): $(VENV)/bin/python
	@c++ --version >/dev/null 2>&1 || { echo "Verity compiles llama.cpp and needs a C++ compiler (Debian: apt install g++)." >&2; exit 1; }
	$(PIP) install --quiet --require-hashes --only-binary :all: -r requirements/build.txt
	PATH="$(CURDIR)/$(BIN):$$PATH" CMAKE_ARGS="$(LLAMA_FLAGS)" $(PIP) install --require-hashes --no-deps --force-reinstall \
	  --no-cache-dir --no-build-isolation --no-binary llama-cpp-python -r requirements/llama.txt
	@rm -f $(VENV)/.llama-*
	@touch $@

$(READY): $(LLAMA)
	$(PIP) install --quiet --require-hashes --only-binary :all: -r requirements/lock.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.ready-*
	@touch $@

$(MODEL): $(READY)
	@mkdir -p -m 700 $(CHECKOUT_HOME)
	@VERITY_HOME=$(CHECKOUT_HOME) $(BIN)/verity pull --json | $(BIN)/python -c \
	  'import json, sys; d = json.load(sys.stdin)["blake3"]; print(f"$(CHECKOUT_HOME)/blobs/{d[:2]}/{d}")' > $@.new
	@test -s $@.new && mv $@.new $@

lock:
	uv pip compile -q --universal --generate-hashes --python-version 3.11 --custom-compile-command "make lock" \
	  requirements/build.in -o requirements/build.txt
	uv pip compile -q --universal --generate-hashes --python-version 3.11 --custom-compile-command "make lock" --no-deps \
	  requirements/llama.in -o requirements/llama.txt
	for part in tpm tpm-build; do uv pip compile -q --universal --generate-hashes --python-version 3.11 \
	  --custom-compile-command "make lock" --no-deps requirements/$$part.in -o requirements/$$part.txt || exit 1; done
	uv pip compile -q --universal --generate-hashes --python-version 3.11 --custom-compile-command "make lock" \
	  pyproject.toml --extra llama --extra onnx --extra server --group dev --no-emit-package llama-cpp-python -o requirements/lock.txt
	uv pip compile -q --universal --generate-hashes --python-version 3.11 --custom-compile-command "make lock" \
	  --group bench -c requirements/lock.txt -o requirements/bench.txt
	uv pip compile -q --universal --generate-hashes --python-version 3.11 --custom-compile-command "make lock" \
	  --group fuzz -c requirements/lock.txt -o requirements/fuzz.txt
	uv pip compile -q --universal --generate-hashes --python-version 3.11 --custom-compile-command "make lock" \
	  requirements/model-signing.in -o requirements/model-signing.txt

clean:
	rm -rf $(VENV) $(REFERENCE) $(CHECKOUT_HOME) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .fuzz

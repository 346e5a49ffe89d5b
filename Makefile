# On a fresh machine two commands do all: `make demo` and `make test`.

PYTHON ?= python3
VENV ?= $(or $(VIRTUAL_ENV),.venv)
VENV_MIN ?= .venv-min
VENV_ADAPTERS ?= .venv-adapters
VENV_ST ?= .venv-st

MINILM := models/all-MiniLM-L6-v2
RUN := $(VENV)/bin/python
RUN_MIN := $(VENV_MIN)/bin/python
RUN_ST := $(VENV_ST)/bin/python
STAMP := $(VENV)/.installed
STAMP_MIN := $(VENV_MIN)/.installed
STAMP_ST := $(VENV_ST)/.installed
ADAPTER ?= langchain lancedb llama_index mem0 mteb
OPTIONS_langchain := -o asyncio_mode=auto -o asyncio_default_fixture_loop_scope=function
# The plugin fails a test that skips although its data is there.
PYTEST := -m pytest -p tests.architecture.no_skips

.DEFAULT_GOAL := help
.PHONY: help install minilm demo test test-full test-min test-adapters lint bench bench-runtimes venv-st clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## install the project and its tools into .venv, or into the active one

minilm: $(MINILM)  ## fetch the real all-MiniLM-L6-v2 into models/

demo: $(STAMP) $(MINILM)  ## convert MiniLM, search with it, compare it with the original
	@$(RUN) scripts/demo.py

# Threads that wait sleep: those of torch otherwise spin, and tests crawl on a busy machine.
test test-full test-min test-adapters: export OMP_WAIT_POLICY := passive

test: $(STAMP) $(MINILM) lint  ## every check but the slow forms
	$(RUN) $(PYTEST) -m "not slow"

test-full: $(STAMP) $(MINILM) lint  ## every check, slow forms included; absent data fails
	LLM_COMPRESSION_FULL=1 $(RUN) $(PYTEST)

test-min: $(STAMP_MIN) $(MINILM)  ## the tests on the lowest supported versions
	$(RUN_MIN) $(PYTEST) -m "not slow"

test-adapters: $(ADAPTER:%=adapter-%)  ## adapters with their libraries; ADAPTER=mem0 runs one, KEEP=1 keeps its venv

lint: $(STAMP)  ## style, types and the arrows between packages
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports

# QUICK=1 is the form of under two minutes of both; it keeps what is stored.
bench: $(STAMP) $(MINILM)  ## measure beside the usual libraries; bench-runtimes, beside runtimes
	$(RUN) -m benchmarks.run $(if $(QUICK),--quick)

bench-runtimes: $(STAMP) $(MINILM)  ## the models beside onnxruntime, OpenVINO and others; QUICK=1
	$(RUN) scripts/pip_install.py --quiet -c constraints.txt -e '.[bench-runtimes]'
	$(RUN) -m benchmarks.runtimes.run --st-python $(RUN_ST) $(if $(QUICK),--quick)
	$(if $(QUICK),,$(RUN) -m benchmarks.runtimes.plot)
	$(if $(QUICK),,$(RUN) -m benchmarks.runtimes.profile)
	-$(if $(QUICK),,$(RUN) -m benchmarks.runtimes.retrieval)

venv-st: $(STAMP_ST)  ## sentence-transformers' other backends, which bench-runtimes then includes

clean:  ## remove environments, caches, builds and models
	rm -rf .venv .venv-min .venv-adapters .venv-st build dist models/*/ models/*.parquet
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(MINILM): | $(STAMP)
	$(RUN) scripts/fetch_minilm.py $@

adapter-%: $(MINILM)
	@echo "adapter $*"
	$(call create,$(VENV_ADAPTERS)/$*,$(VENV_ADAPTERS)/$*/bin/python)
	$(VENV_ADAPTERS)/$*/bin/python scripts/pip_install.py --quiet -c constraints.txt \
	  -r tests/adapters/$*/requirements.txt -e '.[$*]'
	$(VENV_ADAPTERS)/$*/bin/python $(PYTEST) $(OPTIONS_$*) tests/adapters/$*
	@$(if $(KEEP),,rm -rf $(VENV_ADAPTERS)/$*)

$(STAMP): constraints.txt
	$(call create,$(VENV),$(RUN))
	$(RUN) scripts/pip_install.py --quiet -c $< -e '.[bench,lint,test]'
	touch $@

$(STAMP_MIN): constraints-min.txt
	$(call create,$(VENV_MIN),$(RUN_MIN))
	$(RUN_MIN) scripts/pip_install.py --quiet -c $< -e '.[bench,test]'
	touch $@

$(STAMP_ST): benchmarks/runtimes/requirements-st.txt
	$(call create,$(VENV_ST),$(RUN_ST))
	$(RUN_ST) scripts/pip_install.py --quiet -r $<
	touch $@

$(STAMP) $(STAMP_MIN): pyproject.toml hatch_build.py $(wildcard llm_compression/native/*.[ch])
$(STAMP) $(STAMP_MIN) $(STAMP_ST): scripts/pip_install.py

NEW_ENOUGH := 'import sys; sys.exit(sys.version_info < (3, 10) and \
  "error: Python 3.10 or newer is needed, as in: make PYTHON=python3.12 install")'

# A new environment, with a pip that plans from metadata instead of downloading what it plans.
define create
@test -x $(2) || { $(PYTHON) -c $(NEW_ENOUGH) && $(PYTHON) -m venv $(1); }
@echo "installing into $(1), which takes a minute or two"
@$(2) -m pip install --quiet 'pip>=23.3'
endef

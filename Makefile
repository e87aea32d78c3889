# Every target makes what it needs: `make test` on a fresh clone is all there is to do.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# Twice quiet: errors are printed, notes about the machine's pip configuration are not.
PIP := $(PY) -m pip --quiet --quiet --disable-pip-version-check

# Durations differ a hundredfold between tests, so an idle worker takes over what another has left.
PYTEST := $(PY) -m pytest -n auto --dist worksteal
EXAMPLES ?= 1000
SECONDS ?= 60
SAMPLE ?= 60

.DEFAULT_GOAL := help
# Two installations into one environment at a time break it.
.NOTPARALLEL:
.SECONDARY:
.PHONY: help demo test lint check format docs bench clean
.PHONY: browser properties faults families zoo configs fuzz mutants verdicts published statistics triton gpu

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z ]+:.*## / {printf "make %-11s  %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/with-demo ## the tour: what autoinit does, in a minute
	$(PY) docs/examples/demo.py

test: $(VENV)/with-test $(VENV)/with-zoo ## the test suite, in 6 minutes on two cores
	$(PYTEST)

lint: $(VENV)/with-dev ## format, lint and types
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy --strict

check: lint $(VENV)/with-zoo ## before a commit: lint, and the tests that are fast
	$(PYTEST) -m "not slow and not campaign"

format: $(VENV)/with-dev ## format, and repair what the linter can
	$(PY) -m ruff check --fix-only .
	$(PY) -m ruff format .

docs: $(VENV)/with-docs ## build the site into site/
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

bench: $(VENV)/with-bench $(VENV)/with-zoo ## measure beside the rivals; what draws values also beside a competing process
	mkdir -p build
	$(PY) -m benchmarks --json build/bench.json
	$(PY) -m benchmarks --busy --only building --only sampling --json build/busy.json
	$(PY) -m benchmarks.results plot build/bench.json build/building.svg

browser: $(VENV)/with-browser $(VENV)/with-zoo ## the HTML report in a Chromium that is installed, and the pictures of the docs
	$(PYTEST) tests/unit/html/test_browser.py

clean: ## remove the environment and everything that was built
	rm -rf $(VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Campaigns: docs/campaigns.md says what each proves, and how long it takes.

properties: $(VENV)/with-test $(VENV)/with-zoo ## campaign: EXAMPLES (1000) random cases of each property
	AUTOINIT_EXAMPLES=$(EXAMPLES) $(PYTEST) -m "hypothesis and not campaign"

faults: $(VENV)/with-test $(VENV)/with-zoo ## campaign: faults planted in the package, each of which a test has to find
	$(PYTEST) -m campaign tests/unit

families: $(VENV)/with-test $(VENV)/with-zoo ## campaign: a small model of each family of three libraries, built in blocks
	$(PYTEST) -m '' tests/zoo/test_subset.py tests/zoo/test_deferral.py

zoo: $(VENV)/with-test $(VENV)/with-zoo ## campaign: every model of three libraries, built in blocks
	$(PY) -m tests.zoo

configs: $(VENV)/with-test $(VENV)/with-zoo ## campaign: configs that to_cfg() writes, planned on the models of the zoo
	$(PY) -m tests.zoo.to_cfg

fuzz: $(VENV)/with-test $(VENV)/with-zoo ## campaign: hostile configs, names and checkpoints, SECONDS (60) for each target
	$(PIP) install --constraint constraints.txt --editable '.[fuzz]' || echo 'Without atheris: the texts are not guided.'
	$(PY) -m tests.fuzzing --seconds $(SECONDS)

mutants: $(VENV)/with-mutants $(VENV)/with-zoo ## campaign: SAMPLE (60; 0 is all) changes of each folder, run against its tests
	$(PY) -m tests.mutation --sample $(SAMPLE) --measure

verdicts: $(VENV)/with-test ## campaign: how often verify is wrong
	$(PY) -m tests.verdicts

published: $(VENV)/with-test $(VENV)/with-zoo ## campaign: libraries' own weights verified against their sources
	$(PY) -m tests.published

statistics: $(VENV)/with-test ## campaign: the sampler against chance, on 10^8 values
	$(PY) -m tests.statistics

triton: $(VENV)/with-test ## the kernel for GPUs, interpreted on the CPU (1 GB to install)
	$(PIP) install --constraint constraints.txt --editable '.[triton]'
	TRITON_INTERPRET=1 $(PYTEST) tests/unit/sampling/test_kernels.py

gpu: ## on a GPU, with an environment that has torch for it: the tests of CUDA, and what drawing costs
	python -m pytest tests/unit/sampling/test_kernels.py tests/unit/sampling/test_cuda.py
	python -m benchmarks --only cuda

$(VENV)/made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "autoinit needs Python 3.10 or newer; set PYTHON")'
	$(PYTHON) -m venv $(VENV)
	touch $@

# The kernel of the sampler is compiled with it, where there is a C compiler.
$(VENV)/with-%: pyproject.toml constraints.txt hatch_build.py $(wildcard autoinit/sampling/*.[ch]) | $(VENV)/made
	$(PIP) install --constraint constraints.txt --editable '.[$*]'
	touch $@

# Both would pull in a torch build of their own choice; what they import is in the extras.
$(VENV)/with-zoo: constraints.txt | $(VENV)/made
	$(PIP) install --constraint constraints.txt --no-deps torchvision timm
	touch $@

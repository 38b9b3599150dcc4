# Two commands matter: `make demo` and `make test`. Each makes its own virtual environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
BENCH_VENV := .venv-bench
TANGENTS_VENV := .venv-tangents
# The benchmarks of `make bench`, or those named: make bench BENCHMARKS="scaling startup" QUICK=--quick
BENCHMARKS ?= exact_ensembles normals many_inputs streaming plans diffusions densities monte_carlo_kernel scaling startup device training probe_overhead initialization_checks
QUICK ?=
# A quick run leaves the results and the page that are kept as they are.
RESULTS := $(if $(QUICK),$(BENCH_VENV)/quick,benchmarks/results)
RESULTS_PAGE := $(if $(QUICK),$(BENCH_VENV)/quick,docs)
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
INSTALL := PIP_CONSTRAINT=constraints.txt $(BIN)/python $(PIP_INSTALL)

# Cases of `make fuzz`, of calls, command lines and files together: make fuzz CASES=100000
CASES ?= 3000

.PHONY: demo reproduce test lint unit slow wheel fuzz bench bench-tangents docs figures clean

demo: $(VENV)/installed
	$(BIN)/deeplim demo --output deeplim-demo/report.html

reproduce: $(VENV)/installed
	$(BIN)/deeplim reproduce --output deeplim-claims

test: lint unit

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Two or more processes, each with files of its own. Those that are slow run by `make slow`.
unit: $(VENV)/installed-test
	@echo "The tests take some twenty minutes on two idle cores, a third of it to compile kernels where none are kept."
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not slow and not network" --durations 10

slow: $(VENV)/installed-test
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m slow

# Builds the wheel and installs it, with what it needs, from the package index: the one test that takes the network.
wheel: $(VENV)/installed-test
	$(BIN)/python -m pytest -m network

fuzz: $(VENV)/installed-test
	$(BIN)/python -m deeplim.testing --cases $(CASES)

# Every script prints JSON, kept only when it succeeds; one that fails loses nobody else's, and fails make in the end.
bench: $(BENCH_VENV)/installed
	@mkdir -p $(RESULTS); failed=; for name in $(BENCHMARKS); do \
	  echo benchmarks/$$name.py; \
	  if $(BENCH_VENV)/bin/python benchmarks/$$name.py $(QUICK) > $(BENCH_VENV)/$$name.json; \
	  then mv $(BENCH_VENV)/$$name.json $(RESULTS)/$$name.json; else failed="$$failed $$name"; fi; \
	done; \
	$(BENCH_VENV)/bin/python benchmarks/page.py --results $(RESULTS) --docs $(RESULTS_PAGE) || failed="$$failed page"; \
	if [ -n "$$failed" ]; then echo "these failed:$$failed" >&2; exit 1; fi

bench-tangents: $(TANGENTS_VENV)/installed

docs: $(VENV)/installed-test
	$(BIN)/python docs/generate.py

figures: $(VENV)/installed-test
	set -e; for script in $$(grep -l "__main__" docs/figures/*.py); do echo $$script; $(BIN)/python $$script; done

clean:
	rm -rf $(VENV) $(BENCH_VENV) $(TANGENTS_VENV) deeplim-demo deeplim-claims build dist
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/created:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "deeplim needs Python 3.11, 3.12 or 3.13 and found %d.%d; run make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/created pyproject.toml constraints.txt
	$(INSTALL) --editable .
	@touch $@

$(VENV)/installed-test: $(VENV)/created pyproject.toml constraints.txt
	$(INSTALL) --editable ".[test]"
	@touch $@ $(VENV)/installed

$(BENCH_VENV)/installed: benchmarks/requirements.txt pyproject.toml constraints.txt
	$(PYTHON) -m venv $(BENCH_VENV)
	PIP_CONSTRAINT=constraints.txt $(BENCH_VENV)/bin/python $(PIP_INSTALL) --editable . --requirement $<
	@touch $@

$(TANGENTS_VENV)/installed: benchmarks/requirements-tangents.txt
	$(PYTHON) -m venv $(TANGENTS_VENV)
	$(TANGENTS_VENV)/bin/python $(PIP_INSTALL) --requirement $<
	@touch $@

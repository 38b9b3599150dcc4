# Two commands matter: `make demo` and `make test`. Each makes its own virtual environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo reproduce test lint unit bench docs figures clean

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

unit: $(VENV)/installed-test
	$(BIN)/python -m pytest

bench: $(VENV)/installed-test
	$(INSTALL) --editable ".[torch]"
	$(BIN)/python benchmarks/exact_against_torch.py

docs: $(VENV)/installed-test
	$(BIN)/python docs/generate.py

figures: $(VENV)/installed-test
	set -e; for script in $$(grep -l "__main__" docs/figures/*.py); do echo $$script; $(BIN)/python $$script; done

clean:
	rm -rf $(VENV) deeplim-demo deeplim-claims build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
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

# `make run` and `make test` are complete on a machine that has only Python >= 3.11: each makes the environment it needs.
PYTHON ?= python3
VENV   ?= .venv
OUT    ?= varflow-results
PY     := $(VENV)/bin/python

.PHONY: run test test-slow validate bench lint format clean

run: $(VENV)/run.stamp          ## the paper's 100-layer experiment beside the exact theory
	$(VENV)/bin/varflow validate --out $(OUT)

test: $(VENV)/all.stamp         ## every quick check: style, types, tests, doctests
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright
	$(PY) -m pytest

test-slow: $(VENV)/all.stamp    ## the statistical checks that take minutes
	$(PY) -m pytest -m slow

validate: $(VENV)/all.stamp     ## the standing evidence: one claim a file, report in validation-results/REPORT.md
	$(PY) -m validation

bench: $(VENV)/all.stamp        ## speed, as ratios inside one run
	$(PY) -m pytest benchmarks -m "" --benchmark-group-by=group --benchmark-columns=min,median,rounds

lint: $(VENV)/all.stamp
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/pyright

format: $(VENV)/all.stamp
	$(VENV)/bin/ruff check --fix . && $(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "varflow needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo "this Python cannot make environments; on Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# A stamp is named after the extras it holds, and goes stale when pyproject.toml changes.
$(VENV)/run.stamp: pyproject.toml | $(PY)
	$(PY) -m pip install --quiet -e ".[torch,plot]" && touch $@

$(VENV)/all.stamp: pyproject.toml | $(PY)
	$(PY) -m pip install --quiet -e ".[all]" && touch $@

# `make run` and `make test` are complete on a machine that has only Python >= 3.11: each makes the environment it needs.
PYTHON ?= python3
VENV   ?= .venv
OUT    ?= varflow-results
PY     := $(VENV)/bin/python

.PHONY: run test types test-slow test-libraries fuzz drill validate nightly data train train-quick bench notebooks explorer corrected-gains site axe dist oldest newest lint format clean

run: $(VENV)/run.stamp          ## 100 layers of random weights compared with the exact theory
	$(VENV)/bin/varflow validate --out $(OUT)

# Bytecode is made of what is imported, a third of what is installed, and kept between processes, hundreds of which the tests start.
export PYTHONDONTWRITEBYTECODE =

# One thread per process: on two cores more threads would wait.
test: $(VENV)/all.stamp         ## every quick check: style, tests, doctests
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist worksteal

# One thread: two infer the types of libraries twice, two fifths more work for hardly less time.
types: $(VENV)/all.stamp        ## pyright: takes as long as a third of the tests
	$(VENV)/bin/pyright

# SHARE=3/12: every twelfth test from the third on.
test-slow: $(VENV)/all.stamp    ## tests that take seconds to minutes: statistics, long derivations; SHARE=3/12
	OMP_NUM_THREADS=1 $(PY) -m pytest -m slow -n 2 --dist worksteal $(SHARE:%=--share %)

# SpikingJelly, sinabs and NeuroBench bring dependencies that do not go together with all others: their modules alone, in a folder of their own.
LIBRARIES := $(VENV)/libraries
test-libraries: $(VENV)/all.stamp $(LIBRARIES).stamp   ## model families of SpikingJelly and sinabs: minutes
	PYTHONPATH="$(LIBRARIES)" $(PY) -m pytest -m slow tests/torch_models/test_model_families.py tests/torch_models/test_model_predictions.py \
	  tests/torch_models/test_attention_of_models.py \
	  -W ignore::DeprecationWarning
	PYTHONPATH="$(LIBRARIES)" $(PY) -m pytest -k has_these_gradients tests/theory/walks/test_gradient_flow.py -W ignore::DeprecationWarning
	PYTHONPATH="$(LIBRARIES)" $(PY) -m pytest tests/torch_models/test_counted_cost.py -W ignore::DeprecationWarning
	PYTHONPATH="$(LIBRARIES)" $(PY) -m pytest -k every_model tests/validation/test_twelve_pairs.py -W ignore::DeprecationWarning

$(LIBRARIES).stamp:
	$(PY) -m pip install --quiet --no-deps --target $(LIBRARIES) spikingjelly loguru tqdm sinabs pbr neurobench==2.3.0 && touch $@

CALLS ?= 2000
SEED  ?= 0
fuzz: $(VENV)/all.stamp         ## every public callable with good, extreme and wrong arguments: CALLS=2000 SEED=0
	OMP_NUM_THREADS=1 $(PY) tests/fuzzing.py --calls $(CALLS) --seed $(SEED)

KILLS ?= 50
drill: $(VENV)/all.stamp        ## campaigns killed at random times and continued: KILLS=50 SEED=0, about half an hour
	$(PY) tests/drill.py --kills $(KILLS) --seed $(SEED)

# Envelopes on one core, claims on the other.
WHICH = $(if $(CLAIMS),--claim $(CLAIMS))
validate: $(VENV)/all.stamp     ## statistical evidence: one file per claim, report in validation-results/REPORT.html and REPORT.md; CLAIMS="…"
	OMP_NUM_THREADS=1 $(PY) -m validation.envelope $(WHICH) & OMP_NUM_THREADS=1 $(PY) -m validation $(WHICH); holds=$$?; \
	  wait $$! && $(PY) -m validation.pages validation-results --out validation-results && exit $$holds

# PART=slow, PART="slow 3/12", PART=shard: see the top of the script.
nightly: $(VENV)/all.stamp      ## every check that is not in `make test`, with a table at the end; continues what was stopped: PART=
	$(PY) checks/nightly.py "$(PART)"

# Images are kept in ~/.cache/varflow/data, or in the folder that VARFLOW_DATA names.
data: $(VENV)/all.stamp         ## images for training: what could be obtained, and how to get the rest
	$(PY) -m validation.training data

train-quick: $(VENV)/all.stamp  ## which designs learn scikit-learn's digits, and whether the same as ever: two minutes on two cores
	$(PY) -m validation.training quick --workers 2 --resume --against validation/training/results

train: $(VENV)/all.stamp $(LIBRARIES).stamp   ## all experiments of docs/training.md; continues what was stopped
	PYTHONPATH="$(LIBRARIES)" $(PY) -m validation.training all --workers 2 --resume

BENCH := -m pytest benchmarks -m "" --benchmark-group-by=group --benchmark-columns=min,median,rounds
bench: $(VENV)/all.stamp        ## speed, as ratios inside one run: the table after pytest-benchmark's own; AGAINST=COMMIT: what got slower since
	$(PY) $(if $(AGAINST),benchmarks/against.py $(AGAINST),$(BENCH)) $(SHARE:%=--share %)

# The settings in theory_notebooks/jupyter make a double click open a .py file there as a notebook. Saving writes the .py file,
# without outputs. LAB takes options of jupyter lab, such as LAB="--no-browser --port 8899".
notebooks: $(VENV)/all.stamp    ## the theory notebooks in JupyterLab
	JUPYTER_CONFIG_PATH="$(CURDIR)/theory_notebooks/jupyter" $(VENV)/bin/jupyter lab --notebook-dir=theory_notebooks $(LAB)

corrected-gains: $(VENV)/all.stamp   ## corrected gains of common neurons with memory: the table that lookup interpolates, minutes
	OMP_NUM_THREADS=1 $(PY) docs/finite_width_in_time.py

explorer:                       ## the theory to play with, in a browser: explorer.html, complete in one file
	$(PYTHON) explorer/build.py explorer.html

# The notebooks are executed here rather than by `make test`; a failing cell or a warning fails the site. With "cache" each is
# executed once, and again when it or the package changes. NOTEBOOKS=off leaves their outputs out. One thread per process here too.
NOTEBOOKS ?= cache
site: export OMP_NUM_THREADS = 1
site: $(VENV)/all.stamp         ## the documentation, complete without network: site/index.html; NOTEBOOKS=off is fast
	$(PY) -m sphinx -W -q -j 2 -c docs/site -d build/pages-$(NOTEBOOKS) -D nb_execution_mode=$(NOTEBOOKS) . build/site
	rm -rf site && cp -r build/site site
	$(PY) explorer/build.py site/explorer.html --site
	$(PY) -m validation.pages validation/results --out site/report
	$(PY) docs/site/links.py site
	$(PY) -m pytest -q -n 0 tests/house/test_search.py

site/index.html:
	$(MAKE) site

axe: $(VENV)/all.stamp site/index.html   ## accessibility of the built site: WCAG 2.2 A and AA, light, dark and on a phone; needs npm, Chromium and minutes
	npm install --silent --no-save --prefix build axe-core
	$(PY) docs/site/axe.py site build/node_modules/axe-core/axe.min.js

# The wheel is tried in an environment that has only what it asks for, outside this folder.
TRIED := from importlib.resources import files; import varflow as vf; \
  rows = (files("varflow") / "data/corrected_gains.csv").read_text().splitlines(); \
  print("varflow", vf.__version__, "gain", vf.gain(threshold=1.0), "and", len(rows), "rows of corrected gains"); assert len(rows) > 100
dist: $(VENV)/all.stamp         ## wheel and source distribution in dist/, the wheel tried in an empty environment
	rm -rf dist build/empty
	$(PY) -m build --outdir dist . > /dev/null
	$(PY) -m venv build/empty && build/empty/bin/pip install --quiet dist/*.whl
	cd build/empty && bin/python -c '$(TRIED)' && bin/varflow lookup --threshold 1 --fan-in 512
	for folder in docs tests theory_notebooks validation; do tar tzf dist/*.tar.gz | grep -q "^[^/]*/$$folder/[^/]*\.py$$" || exit 1; done
	ls dist

# The wheel with the oldest, or the newest, versions that pyproject.toml allows, in an environment of its own: what a new user does,
# and the examples of all docstrings, which call every public function. TESTS= leaves these out.
EXTRAS := torch plot xarray certified frameworks nir data test
TESTS  ?= tests/house/test_docs.py -k examples_in_docstrings
MODEL := import torch, snntorch; make = lambda: (torch.nn.Sequential(torch.nn.Linear(30, 30), \
  snntorch.Leaky(beta=0.5, init_hidden=True)), torch.rand(4, 30))
oldest: HOW := lowest-direct
oldest: MAY := -W ignore::DeprecationWarning  # of what these versions themselves use
newest: HOW := highest
oldest newest: dist             ## the wheel with the oldest, or newest, dependencies that it allows
	rm -rf build/$@
	$(PY) -m venv build/$@
	$(PY) -m uv pip install --quiet --python build/$@ --resolution $(HOW) -r pyproject.toml $(EXTRAS:%=--extra %)
	$(PY) -m uv pip install --quiet --python build/$@ --no-deps dist/*.whl
	cd build/$@ && bin/python -c '$(TRIED)' && bin/varflow lookup --threshold 1 --fan-in 512 && echo '$(MODEL)' > made.py && \
	  bin/varflow audit made:make --steps 5 && bin/varflow validate --quick --out validated
	[ -z "$(TESTS)" ] || OMP_NUM_THREADS=1 build/$@/bin/python -m pytest -n 2 $(MAY) $(TESTS)

lint: $(VENV)/all.stamp
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .

format: $(VENV)/all.stamp
	$(VENV)/bin/ruff check --fix . && $(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV) site explorer.html build dist *.egg-info .pytest_cache .ruff_cache .hypothesis

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "varflow needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo "this Python cannot make environments; on Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# A stamp is named after the extras it holds, and goes stale when pyproject.toml changes.
$(VENV)/run.stamp: pyproject.toml | $(PY)
	@echo "installing torch and what else is needed, once: minutes, with CUDA about 3 GB"
	$(PY) -m pip install --quiet -e ".[torch,plot]" && touch $@

$(VENV)/all.stamp: pyproject.toml | $(PY)
	@echo "installing torch and what else is needed, once: minutes, with CUDA about 3 GB"
	$(PY) -m pip install --quiet --no-compile -e ".[all]" && touch $@

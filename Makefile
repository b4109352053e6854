# `make demo` and `make test` need Python 3.10 or newer and nothing else: they do their set-up in .venv.
# Another Python: make PYTHON=python3.12 test
PYTHON ?= python3
PY := .venv/bin/python
PACKAGING := setup.py settings.ini pyproject.toml
.DEFAULT_GOAL := help
.PHONY: help demo site docs release test test-all notebooks export lab hooks drills lock clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1 \t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: .venv/.run ## serve the dashboard and print its address; another port: make demo PORT=9000
	@.venv/bin/fer-nb app $(if $(PORT),--port $(PORT))

site: .venv/.run ## write the page without a server into site/, which any static host serves; another folder: make site OUT=public
	@.venv/bin/fer-nb site $(or $(OUT),site)

docs: .venv/.dev ## build the documentation into _docs/; with the page that make site left, if any; another folder: make docs OUT=public
	@$(PY) tools/docs.py $(OUT)

release: .venv/.dev ## is everything ready for a release? says what is missing; changes and publishes nothing
	@$(PY) tools/release.py $(CHECKS)

test: .venv/.dev ## all tests; one of them: make test STEPS="readme pytest"
	@$(PY) tools/test.py $(STEPS)

test-all: .venv/.dev ## the tests that take minutes, too, and the notebooks' slow cells that need no data
	@$(PY) tools/test.py --slow $(STEPS)

drills: .venv/.dev ## fuzz, soak, kill, full disk, supply chain for about MINUTES=10, into drills/; some of them: DRILLS="fuzz kill"
	@PYTHONPATH=tools $(PY) -m drills --minutes $(or $(MINUTES),10) $(DRILLS)

lock: .venv/.dev ## write requirements.lock anew: what is in .venv where that fits, for all Pythons; make LOCKED=1 test installs by it
	@$(PY) tools/lock.py

notebooks: .venv/.dev ## execute the notebooks and save their outputs; SLOW=1 also the cells that need data or minutes; NB=nbs/x.ipynb
	@$(PY) tools/notebooks.py $(NB)

export: .venv/.dev ## after editing notebooks: clean them, write fer_nb/*.py and README.md
	@$(PY) tools/export.py

lab: .venv/.dev ## open the notebooks in JupyterLab
	.venv/bin/jupyter lab nbs

hooks: .venv/.dev ## install nbdev's git and Jupyter hooks, and ruff before commits (CONTRIBUTING.md says what they do)
	@$(PY) tools/hooks.py

clean: ## remove what builds, tests and the demo left; .venv, data and runs stay
	rm -rf build dist *.egg-info demo site drills test-output .pytest_cache .ruff_cache _docs _proc
	find fer_nb nbs tests tools \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { echo "fer_nb needs Python 3.10 or newer, and" \
	  "\`$(PYTHON) --version\` says \"$$($(PYTHON) --version 2>&1 | tail -1)\": install one and call, for instance, make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv .venv

.venv/.run: $(PACKAGING) | .venv/bin/pip
	@echo "Setting up .venv: NumPy, OpenCV, LiteRT, Voila (600 MB)"
	@$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[app]'
	@touch $@

.venv/.dev: $(PACKAGING) | .venv/bin/pip
	@echo "Setting up .venv for development: TensorFlow, JupyterLab, nbdev and what they need (4 GB, a few minutes)"
	@$(if $(LOCKED),$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock)
	@$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[all,dev]'
	@touch .venv/.run $@

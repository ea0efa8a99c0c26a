# Every target sets up what it needs from a bare clone. PYTHON picks the interpreter.
PYTHON ?= python3
VENV ?= .venv-$(notdir $(PYTHON))
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOWEST := .venv-lowest-$(notdir $(PYTHON))
# Three times the processors: many tests wait for processes of their own. More would each take five seconds
# of a processor to collect all tests.
JOBS ?= $(shell $(PYTHON) -c "import os; print(3 * (os.cpu_count() or 1))")

# Tests start the command hundreds of times: without bytecode each start compiles all of it anew,
# which takes longer than what the command does.
unexport PYTHONDONTWRITEBYTECODE

# Tests write and flush many small files: in memory that takes a sixth less time. Only where there
# is room for all that they leave behind, else they use the folder for temporary files.
MEMORY := $(shell [ -w /dev/shm ] && df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 >= 4194304 { print "/dev/shm" }')
ifneq ($(MEMORY),)
TMPDIR ?= $(MEMORY)
export TMPDIR
endif

.PHONY: help demo test check lint types published unit smoke lowest test-deep fuzz browser azure bench scale ratchet mutants coverage golden lock docs site links picture fix dist release-check clean

help: ## Say what each target does
	@sed -n 's/^\([a-z-]*\):.*## /\1: /p' $(MAKEFILE_LIST)

# The development tools are the group `dev` of pyproject.toml, pinned by constraints.txt. Reading
# a group needs a newer pip than some Pythons bring along. Bytecode of the few modules that are used
# is made when they are imported first; pip would make that of all, which takes a third of the time.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.13 ..." \
		if sys.version_info < (3, 11) else 0)'
	@echo "Setting up $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt pip
	@$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt \
		--build-constraint constraints.txt --group dev --editable .
	@touch $(READY)

demo: $(READY) ## Apply the quickstart to the embedded backend
	@BIN=$(CURDIR)/$(BIN) bash examples/quickstart/demo.sh

RUN_TESTS = $(BIN)/python -m pytest --dist worksteal -n $(JOBS)

# Types and the collection of the tests take one processor each, and run side by side. What is wrong
# with a type is printed at once, and again at the end.
test: lint ## Lint, types and every test
	@log=$$(mktemp); ($(BIN)/mypy > "$$log" 2>&1 || { cat "$$log"; exit 1; }) & types=$$!; \
		code=0; echo "$(RUN_TESTS)"; $(RUN_TESTS) || code=$$?; \
		wait $$types || code=$$?; cat "$$log"; rm -f "$$log"; exit $$code

check: lint types published links ## Lint, types, the links of the pages, and the files of CI and cluster by their published schemas and linters

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

published: $(READY)
	$(BIN)/python -m pytest -m published tests/test_published.py tests/e2e/pipelines/test_gitlab_component.py tests/e2e/controller

unit: $(READY)
	$(RUN_TESTS)

# What another Python does otherwise shows in the examples; the random search of the laws, which is
# half of the time, is for the code, and `test` has it.
smoke: $(READY) ## The demo and the fast tests: a second Python version
	$(MAKE) --no-print-directory demo PYTHON=$(PYTHON)
	$(BIN)/python -m pytest --dist worksteal -n auto -m "not deep and not hypothesis" \
		tests/unit tests/cases tests/golden

# What one library answers differently is what can break: the client, the backend and the schemas.
lowest: $(LOWEST)/.ready ## The demo and tests of what is ours alone, with the lowest versions allowed
	@BIN=$(CURDIR)/$(LOWEST)/bin bash examples/quickstart/demo.sh
	$(LOWEST)/bin/python -m pytest --dist worksteal -n auto tests/contract/client \
		tests/contract/emulator tests/unit/client tests/unit/manifests/test_schemas.py \
		--deselect tests/unit/client/test_connecting.py::test_the_client_is_the_engines_api

$(LOWEST)/.ready: pyproject.toml constraints.txt tests/lowest.py
	@echo "Setting up $(LOWEST) (once) ..."
	@$(PYTHON) -m venv $(LOWEST)
	@$(PYTHON) tests/lowest.py > $(LOWEST)/constraints.txt
	@$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt pip
	@$(LOWEST)/bin/python -m pip install --quiet --no-compile --constraint $(LOWEST)/constraints.txt \
		--build-constraint constraints.txt --group lowest --editable '.[postgres]'
	@touch $@

# A share is some of it, always the same: its number is also that of the random examples (tests/deep.py).
# It does not collect what it cannot have; and few processes collect, which costs each more than the tests.
DEEP_FILES = tests/laws tests/fault tests/attack tests/unit tests/contract/controller/loop \
	$(shell sed -n '/^attack\|^fault\|^laws\|^unit/d; s|^\([^\# :][^:]*\)::.*|tests/\1|p' tests/deep_cases.txt | sort -u)

test-deep: $(READY) ## All laws, faults and attacks, with tables; SHARE=17 is a part of it, TESTS=tests/fault a folder
	SYNAPSE_APPLY_TEST_DEEP=1 SYNAPSE_APPLY_TEST_SHARE=$(SHARE) $(RUN_TESTS) -m deep \
		$(if $(SHARE),-n 2 --hypothesis-seed $(SHARE) $(or $(TESTS),$(DEEP_FILES)),$(TESTS))

fuzz: $(READY) ## Five fuzzers, SECONDS=900 each; FUZZERS="plans states" are some of them
	PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(or $(SECONDS),900) $(FUZZERS)

browser: $(VENV)/.browser ## The HTML report and the controller's page in a real browser, installed where there is none
	@CHROMIUM=$$(bash tests/browser/chromium.sh) && export CHROMIUM && \
		$(BIN)/python -m pytest -p no:xdist tests/browser

$(VENV)/.browser: $(READY)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --group browser
	@touch $@

# Of npm: Microsoft's emulator of Azure's blobs. Only its own version is pinned; tests alone use it.
azure: $(VENV)/azurite/.ready ## State in Azure, against an emulator that npm installs
	SYNAPSE_APPLY_TEST_AZURITE=$(CURDIR)/$(VENV)/azurite $(BIN)/python -m pytest -n 2 -k azur \
		tests/contract/buckets tests/contract/stores

$(VENV)/azurite/.ready: $(READY)
	@npm install --silent --no-save --no-audit --no-fund --prefix $(VENV)/azurite azurite@3.37.0
	@touch $@

bench: $(VENV)/.bench ## The command beside scripts without safety, then what a resource costs the state
	PYTHONPATH=tests $(BIN)/python -m benchmarks --page
	$(BIN)/python tests/benchmarks/state_writes.py
	$(BIN)/python tests/benchmarks/shared_states.py
	PYTHONPATH=tests $(BIN)/python -m benchmarks.project_files

scale: $(READY) ## A controller of ten thousand targets, with accidents; half an hour of two processors
	PYTHONPATH=tests $(BIN)/python -m benchmarks.fleets

$(VENV)/.bench: $(READY)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --group bench
	@touch $@

site: docs ## Build the pages as a site with search in build/site, and check its links and anchors; INTO=FOLDER adds it to the site of all versions
	@$(MAKE) --no-print-directory links PYTHON=$(PYTHON)

links: $(VENV)/.site
	@$(BIN)/python docs/site.py build/site $(INTO)

$(VENV)/.site: $(READY)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --group site
	@touch $@

ratchet: $(READY) ## Write the totals of tests/house/ratchet.toml that have fallen; RAISE=yes writes all
	@PYTHONPATH=tests $(BIN)/python -m house.ratchet $(if $(RAISE),--raise)

mutants: $(READY) ## Which small changes of PART=planning tests notice; TESTS="-m blackbox" are some of them
	@PYTHONPATH=tests $(BIN)/python -m house.mutants $(PART) --commit $(or $(COMMIT),HEAD) \
		--seed $(or $(SEED),1) $(if $(COUNT),--count $(COUNT)) --dist worksteal -n $(JOBS) $(TESTS)

coverage: $(READY) ## What part of the branches the black-box tests run, or TESTS="tests/contract/stores"
	@PYTHONPATH=tests $(BIN)/python -m house.copies --dist worksteal -n $(JOBS) $(or $(TESTS),-m blackbox)

golden: $(READY) ## Rewrite the renderings; look at the difference before committing it
	UPDATE_GOLDEN=1 $(BIN)/python -m pytest tests/unit/views

lock: $(VENV)/.lock ## Rewrite the locks that the pipelines install from, after a change of versions
	bash action/lock.sh $(BIN)/uv

$(VENV)/.lock: $(READY)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --group lock
	@touch $@

docs: $(READY) ## Rewrite the pages and the completions that are made from the code
	$(BIN)/python docs/generate.py
	$(BIN)/synapse-apply completion bash > completions/synapse-apply.bash
	$(BIN)/synapse-apply completion zsh > completions/_synapse-apply
	$(BIN)/synapse-apply completion fish > completions/synapse-apply.fish

picture: $(READY) ## Rewrite docs/*.png: pages of a plan and of the controller as a browser shows them
	@CHROMIUM=$$(bash tests/browser/chromium.sh) && export CHROMIUM && $(BIN)/python docs/picture.py

fix: $(READY) ## Format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

dist: $(READY) ## Build wheel and sdist
	$(BIN)/python -m build --no-isolation

# With TAG=vX.Y.Z it fails while something is open that only an owner can fill in. Only the package
# index is asked: what a release needs beyond it stands in RELEASING.md.
RELEASE = $(BIN)/python -I release/release.py

release-check: $(VENV)/.release ## Build a release twice, and use it as a stranger does; TAG=vX.Y.Z before a tag
	$(if $(TAG),$(RELEASE) tag "$(TAG)")
	$(RELEASE) build dist
	rm -rf build/wheels
	$(RELEASE) fetch build/wheels
	$(RELEASE) describe dist build/wheels
	$(RELEASE) test dist build/wheels
	$(RELEASE) costs dist build/wheels $(PAGE)
	$(BIN)/zizmor --offline --quiet .github action.yml examples

$(VENV)/.release: $(READY) release/requirements.txt
	@$(BIN)/python -m pip install --quiet --no-deps --only-binary :all: --require-hashes --requirement release/requirements.txt
	@touch $@

clean: ## Remove what these targets made
	rm -rf .venv-* build dist .mypy_cache .ruff_cache .hypothesis

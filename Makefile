# Every target does the set-up that it needs: a virtual environment in .venv, and, where it can, Debian packages.
VENV := .venv
PYTHON ?= python3
PORT ?= 8443
DATA ?=
SUMMARY ?=
NODES ?= 1
DATABASE ?= sqlite
# Four for two cores: a third of a test's time and more is waiting. The longest files first (tests/longest.py).
PYTEST_ARGS ?= -n 4 --dist loadfile --no-loadscope-reorder
ENGINE_ARGS ?= -n 2

# Images of containers set it; each of some thousand processes that tests start would compile the product anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test mutants conformance-page bench soak screenshots lint docs lock setup packages clean test-pythons \
	test-compiled test-engines kills drill-load chaos api-examples

help: ## what there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

# exec: make hands its signals to the recipe's process, and a shell in between would keep them.
demo: setup ## a sandbox on https://*.localhost:8443 (PORT=, DATA=DIR, SUMMARY=FILE, NODES=2 DATABASE=postgres)
	@exec $(VENV)/bin/sekisho demo --port $(PORT) --nodes $(NODES) --database $(DATABASE) $(if $(DATA),--data "$(DATA)") $(if $(SUMMARY),--summary "$(SUMMARY)")

test: setup packages ## every test; those whose tools are missing are skipped by name (PYTEST_ARGS=)
	@exec $(VENV)/bin/pytest $(PYTEST_ARGS)

# An engine that pauses and runs works twice, whose run SEED= repeats; or PostgreSQL (tests/engines.py), and then
# the sites, sessions and the suite on a demo as well.
ON_POSTGRESQL := tests/enroll tests/gateway/sites tests/gateway/test_sessions.py tests/conformance/test_ours.py
test-engines: setup packages ## the tests that store something on another engine (ENGINE=hesitant|postgresql FILES= SEED=)
	@SEKISHO_TEST_ENGINE="$(or $(ENGINE),hesitant)" SEKISHO_TEST_SEED="$(or $(SEED),sekisho)" \
		exec $(VENV)/bin/pytest $(or $(FILES),$(if $(filter postgresql,$(ENGINE)),$(ON_POSTGRESQL),tests/enroll)) $(ENGINE_ARGS)

kills: setup ## kill -9 at random points of issuance and of serving, 200 times for each kind of signer (KILLS= SEED=)
	@SEKISHO_TEST_KILLS="$(or $(KILLS),200)" SEKISHO_TEST_COPIES=40 SEKISHO_TEST_SEED="$(or $(SEED),20261122)" \
		exec $(VENV)/bin/pytest -s tests/enroll/test_killed.py tests/enroll/test_postcards.py \
		tests/cli/test_killed_serving.py tests/ca/test_postgresql.py tests/gateway/test_copying.py -k killed -n 0

# FILES: others than the fast tests; with -n 2 in it they share two cores.
test-pythons: ## the fast tests on each supported Python that is on this machine (FILES=)
	@tools/test-pythons $(FILES)

# Three to six minutes: an environment of its own, the wheel, and these tests once more. QUICK=1, for CI: its C is
# not optimised (half of what the wheel costs), and the tests are those that tell most, on what is installed here.
test-compiled: ## the wheel with its hot path compiled, and the tests that concern it against that wheel (FILES= QUICK=1)
ifdef QUICK
	@$(MAKE) --no-print-directory setup
	@tools/test-compiled "$(CURDIR)/$(VENV)/bin/python" --quick $(FILES)
else
	@tools/test-compiled "$(PYTHON)" $(FILES)
endif

mutants: setup ## planted faults, each of which cases or tests have to notice (FAULTS=, KIND=suite|tests, JOBS=1, EVERY=1)
	@exec $(VENV)/bin/python -m tests.mutants $(FAULTS) $(if $(KIND),--kind $(KIND)) --jobs $(or $(JOBS),1) --every $(or $(EVERY),1)

# In `make test` there are four of each kind.
api-examples: setup ## made-up requests of the API, within its openapi.yaml and beside it (EXAMPLES=100)
	@SEKISHO_TEST_EXAMPLES="$(or $(EXAMPLES),100)" exec $(VENV)/bin/pytest -n 0 --timeout 3600 \
		tests/gateway/sites/test_api_document.py -k whatever

conformance-page: setup packages ## what the suite finds on ours, pebble, Caddy, serles, as docs/conformance.md
	@$(VENV)/bin/python -m tests.conformance.results docs/conformance.md

bench: setup packages ## the README's tables, measured anew: three quarters of an hour on two quiet cores (QUICK=1: 9 minutes; ONLY=)
	@tools/bench $(VENV)/bin/python $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

soak: setup ## everything at random: nothing good fails, memory stays flat (WARMUP=900 SECONDS=600)
	@$(VENV)/bin/python -m tests.soak --warmup $(or $(WARMUP),900) --seconds $(or $(SECONDS),600)

drill-load: setup ## backups and drills while clients enroll, renew and revoke: nothing is lost (SECONDS=120)
	@$(VENV)/bin/python -m tests.soak.drilling --seconds $(or $(SECONDS),120)

chaos: setup packages ## two nodes, a primary and a replica, and all that goes wrong with them (SECONDS=600 SEED= PLANT=)
	@exec $(VENV)/bin/python -m tests.chaos --seconds $(or $(SECONDS),600) $(if $(SEED),--seed $(SEED)) $(if $(PLANT),--plant "$(PLANT)")

screenshots: setup packages ## every screen, as the browser tests see it, into screenshots/
	@mkdir -p screenshots
	@SEKISHO_SCREENSHOTS="$(CURDIR)/screenshots" $(VENV)/bin/pytest tests/browser/test_screens*.py \
		tests/browser/test_console.py

lint: setup ## style, format and types
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

docs: setup ## every document as a site in build/docs; a broken link is an error
	@$(VENV)/bin/sphinx-build -n -W --keep-going -q -c docs . build/docs

lock: ## the versions and hashes of all dependencies, as new as pyproject.toml allows (KEEP=1: only what is missing)
	@tools/lock "$(PYTHON)" $(if $(KEEP),,--upgrade)

setup: ## the virtual environment, made or brought up to date
	@tools/setup "$(VENV)" "$(PYTHON)"

packages: setup ## the Debian packages that some tests run, as root only; nothing fails without them
	@tools/packages "$(VENV)"

clean: ## away with what the targets above left here
	rm -rf $(VENV) .venv-3.* .pytest_cache .mypy_cache .ruff_cache .hypothesis screenshots bench-results build *.egg-info

PYTHON ?= python3
PIP = .venv/bin/python -m pip --disable-pip-version-check --quiet
WORKERS ?= auto
# Nodes and databases of the tests write much and keep nothing: in memory, where there is room for it.
SCRATCH ?= $(shell df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 4000000 { print "/dev/shm" }')
TESTS = $(if $(SCRATCH),TMPDIR=$(SCRATCH)) .venv/bin/python -m pytest
.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

.venv/bin/crowdfund: requirements/build.txt requirements/base.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed.")'
	$(PYTHON) -m venv .venv
	$(PIP) install --require-hashes -r requirements/build.txt
	$(PIP) install --no-build-isolation --require-hashes -r requirements/base.txt
	$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

.venv/dev: .venv/bin/crowdfund requirements/dev.txt
	$(PIP) install --no-build-isolation --require-hashes -r requirements/dev.txt
	@touch $@

.PHONY: setup
setup: .venv/bin/crowdfund ## make .venv with everything that running needs

.PHONY: demo
demo: setup ## run everything on a private chain; Ctrl-C stops it
	.venv/bin/crowdfund demo

.PHONY: test
test: .venv/dev ## run all tests but the long campaigns of faults
	PYTHONPATH=tests .venv/bin/python -m support.ready
	$(TESTS) -m "not long" -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: test-long
test-long: .venv/dev ## the long campaigns of faults; SEED=n replays one
	PYTHONPATH=tests .venv/bin/python -m support.ready
	CRASH_SEED=$(SEED) FAULT_SEED=$(SEED) MODEL_SEED=$(SEED) $(TESTS) -m "long or hypothesis" \
	  --hypothesis-profile=new $(if $(SEED),--hypothesis-seed=$(SEED))

# What decides about money: every branch of it is tested, without a node.
RULES = campaigns.ledger campaigns.books campaigns.checks campaigns.settlement campaigns.ladder campaigns.lifecycle \
  campaigns.settling campaigns.attempts wallet.policy wallet.fees
RULE_TESTS = $(foreach name,ledger books checks settlement ladder lifecycle settling adopting attempts cancelling,\
  tests/campaigns/test_$(name).py) tests/wallet/test_policy.py \
  tests/wallet/test_cancelled_signer.py tests/wallet/test_fees.py

.PHONY: cover
cover: .venv/dev ## the rules of money: fails where a branch of them is not tested
	$(TESTS) -q -n 0 -m "not long" -k "not postgresql and not stories and not real_size and not are_the_nodes" \
	  $(RULES:%=--cov=crowdfund.%) --cov-branch --cov-report=term-missing --cov-fail-under=100 $(RULE_TESTS)

.PHONY: mutants
mutants: .venv/dev ## small changes of the rules of money that no test notices: docs/mutation.md
	PYTHONPATH=tests $(if $(SCRATCH),TMPDIR=$(SCRATCH)) .venv/bin/python -m bench.mutants

.PHONY: bench bench-watch bench-settle bench-pages bench-viewers
bench: bench-watch bench-settle bench-pages ## every benchmark, each a table and a last line of JSON
bench-watch: .venv/dev ## how fast the chain is watched
	PYTHONPATH=tests .venv/bin/python -m support.ready
	$(if $(SCRATCH),TMPDIR=$(SCRATCH)) PYTHONPATH=tests .venv/bin/python -m bench.watch
bench-settle: .venv/dev ## how long a hundred thousand pledges take to settle
	$(if $(SCRATCH),TMPDIR=$(SCRATCH)) PYTHONPATH=tests .venv/bin/python -m bench.settle
bench-pages: .venv/dev ## how long the pages of ten thousand campaigns and a million pledges take
	$(if $(SCRATCH),TMPDIR=$(SCRATCH)) PYTHONPATH=tests .venv/bin/python -m bench.pages
bench-viewers: .venv/dev ## a thousand people look at one campaign when a block pays it
	$(if $(SCRATCH),TMPDIR=$(SCRATCH)) PYTHONPATH=tests .venv/bin/python -m bench.viewers

.PHONY: pictures
pictures: .venv/dev ## draw the demo's pictures, and photograph its pages for README and guides
	PYTHONPATH=tests $(if $(SCRATCH),TMPDIR=$(SCRATCH)) .venv/bin/python -m support.pages drawings
	PYTHONPATH=tests $(if $(SCRATCH),TMPDIR=$(SCRATCH)) .venv/bin/python -m support.pages guide

.PHONY: translations
translations: .venv/dev ## bring the catalogues up to date with the site's sentences, and say what is missing
	PYTHONPATH=tests .venv/bin/python -m support.catalogues

.PHONY: lint
lint: .venv/dev ## style, types, import directions
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

.PHONY: lock
lock: .venv/dev ## make the lock files anew from pyproject.toml
	$(PIP) install pip-tools
	for extra in "" dev; do .venv/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host $${extra:+--extra $$extra} \
	  --output-file requirements/$${extra:-base}.txt pyproject.toml; done
	for name in build electrumx; do .venv/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	  --output-file requirements/$$name.txt requirements/$$name.in; done

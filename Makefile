# Works in a fresh clone with Python 3.11 or later and make: every target sets up what it needs.
MAKEFLAGS += --no-print-directory
# What other projects have set: it would lead elsewhere, or take asserts away.
unexport CDPATH GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE NODE_ENV NODE_OPTIONS NODE_PATH
unexport $(addprefix npm_config_,global location omit only production dry_run prefix workspace)
unexport $(filter-out PYTHON_PORT,$(filter PYTHON%,$(.VARIABLES)))
# A home for what tools keep, where the one that there is can't be written.
ifneq ($(shell test -w "$$HOME" || { mkdir -p .data/home && echo lent; }),)
export HOME := $(CURDIR)/.data/home
endif
python := .venv/bin/python
node := "$(CURDIR)/.venv/bin/node"
biome := $(node) "$(CURDIR)/node_api/node_modules/@biomejs/biome/bin/biome"
tsc := $(node) "$(CURDIR)/node_api/node_modules/typescript/bin/tsc"
# Without a folder named, pytest may take the value of an option for one (`--json /tmp/v.json`).
folders = $(if $(filter contract_tests% benchmarks%,$(ARGS)),,contract_tests benchmarks)
pytest := $(python) -m pytest -c pyproject.toml
# How many processes run the tests: for a selection one, which begins sooner, and a debugger needs one.
# Else one more than there are cores, as tests also wait, and at most 4. Each takes tests that stand
# together: those of one file share services.
workers := $(shell n=$$(getconf _NPROCESSORS_ONLN || echo 1); echo $$((n < 3 ? n + 1 : 4)))
parallel = $(if $(filter -k% --pdb%,$(ARGS)),,-n $(workers) --dist worksteal)

.PHONY: help
help: ## This list, which `make` alone shows
	@echo 'Begin with `make up`, which starts both services; `make test` proves them alike.'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

.PHONY: setup
setup: ## The set-up alone: Python packages in .venv, Node packages in node_modules
	@.ci/setup

.PHONY: up
up: setup ## Both services on SQLite, until Ctrl-C; PYTHON_PORT=8000 NODE_PORT=3000
	@$(python) .ci/up.py

.PHONY: test
test: setup ## Everything that proves the project; ARGS="-k create" for pytest
	@$(pytest) $(folders) $(parallel) $(ARGS)

.PHONY: watch
watch: setup ## Both services, and the tests of each file as it is saved; PYTHON_PORT=8000 NODE_PORT=3000
	@$(python) -m contract_tests.watch

.PHONY: contract
contract: setup ## The contract alone, against running services: TARGETS="python=http://... go=http://..."
	@test -n '$(TARGETS)$(filter --gateway%,$(ARGS))' || { echo 'make contract needs TARGETS="NAME=URL ..."' >&2; exit 2; }
	@$(pytest) $(folders) $(foreach target,$(TARGETS),--target='$(target)') $(parallel) $(ARGS)

.PHONY: prove
prove: setup ## The long proof: 50,000 requests and 2,000 sequences; ARGS="--seed 7"
	@$(python) -m contract_tests.prove $(ARGS)

.PHONY: report
report: setup ## All of it on one page, .data/report.html: who proves what, what was said, which code
	@$(python) -m contract_tests.report $(ARGS)

.PHONY: pictures
pictures: setup ## The pictures that the guides show, of the last report and of benchmarks/results; needs Chromium
	@$(python) -m contract_tests.pictures $(ARGS)

.PHONY: mutants
mutants: setup ## Faults planted one by one, and whether a test minds; ARGS="--leave-one-out"
	@$(python) -m contract_tests.mutants $(ARGS)

.PHONY: compose
compose: setup ## What docker-compose.yml starts, proven; needs Docker and the ports 8000, 3000, 8080
	@$(pytest) contract_tests/test_compose.py --compose $(ARGS)

.PHONY: scale
scale: setup ## A million users against ten thousand, on PostgreSQL; ARGS="--rounds 5"
	@$(python) -m contract_tests.scale $(ARGS)

.PHONY: timing
timing: setup ## Whether the time of a failed login tells who has an account; ARGS="--tries 500"
	@$(python) -m contract_tests.timing $(ARGS)

.PHONY: attack
attack: setup ## What one client can do to the others; ARGS="--seconds 30"
	@$(python) -m contract_tests.attack $(ARGS)

.PHONY: bench
bench: setup ## Both services and the claims about both languages, measured in some fourteen minutes; needs wrk
	@$(python) -m benchmarks $(ARGS)

.PHONY: bench-full
bench-full: setup ## The same at length: more rounds, a million requests, ten million rows
	@$(python) -m benchmarks --full $(ARGS)

.PHONY: runtimes
runtimes: setup ## One contract on Bun, Deno, Express, other servers and installers, fetched for it; ARGS="bun deno", or --core
	@$(python) -m benchmarks.runtimes $(ARGS)

.PHONY: fuzz
fuzz: setup ## The fuzzer's long run; FUZZ=10000 requests
	@FUZZ=$(or $(FUZZ),10000) $(pytest) contract_tests/test_fuzz.py $(ARGS)

# No secrets: what documentation and examples say (RFC 6455's, too), the tests' database URLs, a token
# of `alg: none`.
known := ^(password|dGhlIHNhbXBsZSBub25jZQ==|s3pPLMBiTxaQ9kYGzzhZRbK[+]xOo=|whsec_[.]{3}|eyJhbGciOiJub25lIn0[.]eyJzdWIiOiIxIn0[.]?|correct horse battery staple|true|%40%2F)$$
secrets := $(python) -m detect_secrets.pre_commit_hook --no-verify --exclude-secrets '$(known)'

.PHONY: lint
lint: setup ## Style, types, secrets and known vulnerabilities; changes nothing
	@$(python) -m ruff check
	@$(python) -m ruff format --check
	@$(python) -m mypy
	@cd node_api && $(biome) ci --colors=off && $(tsc)
	@cd benchmarks && $(biome) ci --colors=off && $(tsc)
	@cd contract_tests/report && $(biome) ci --colors=off && $(tsc) --project jsconfig.json
	@git rev-parse --is-inside-work-tree >/dev/null # else there is nothing to search
	@git ls-files -z ':!contract_tests' | xargs -0 $(secrets)
	@git ls-files -z contract_tests | xargs -0 $(secrets) --disable-plugin KeywordDetector
	@$(python) .ci/audit.py

.PHONY: format
format: setup ## Formats both sides and fixes what can be fixed
	@$(python) -m ruff check --fix-only
	@$(python) -m ruff format
	@cd node_api && $(biome) check --write
	@cd benchmarks && $(biome) check --write
	@cd contract_tests/report && $(biome) check --write

compile := $(python) -m uv pip compile --quiet --universal --python-version 3.11 --upgrade \
  --generate-hashes --no-emit-index-url --custom-compile-command 'make lock'

.PHONY: lock
lock: ## The lock files anew, from pyproject.toml, requirements.in and each package.json
	@.ci/setup --python-only
	@$(compile) pyproject.toml --output-file python_api/requirements.lock
	@$(compile) pyproject.toml --constraint python_api/requirements.lock --group dev --output-file .ci/requirements.lock
	@$(compile) benchmarks/runtimes/requirements.in --constraint python_api/requirements.lock \
	  --output-file benchmarks/runtimes/requirements.lock
	@for package in node_api benchmarks benchmarks/runtimes; do \
	  rm -rf .data/lock && mkdir -p .data/lock && cp $$package/package.json .data/lock && \
	  (cd .data/lock && ../../.venv/bin/npm install --package-lock-only --ignore-scripts \
	    --omit-lockfile-registry-resolved --no-audit --no-fund) && \
	  mv .data/lock/package-lock.json $$package && rm -r .data/lock || exit; \
	done

.PHONY: clean
clean: ## Removes what set-up and tests made; the users in .data stay
	@rm -rf .venv .data/runtimes node_api/node_modules benchmarks/node_modules .hypothesis .mypy_cache .pytest_cache .ruff_cache .schemathesis
	@find python_api contract_tests benchmarks .ci -name __pycache__ -exec rm -rf {} +

# Everything a person does here, one target each. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= python3
SYNCED := .venv/.synced
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Patients' data: none of the tools reports home.
export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := true

.PHONY: help environment demo serve deploy secrets test rehearse torture torture-quick docs check fix audit lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

$(SYNCED): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "error: $(PYTHON) is $$($(PYTHON) -V); Python 3.11 to 3.13 is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check uv
	@# compiled now: where PYTHONDONTWRITEBYTECODE is set, every process would compile all it imports, TensorFlow for 5 seconds
	.venv/bin/uv pip sync --quiet --compile-bytecode --python .venv/bin/python --require-hashes requirements.lock
	@touch $@

environment: $(SYNCED) ## the packages of requirements.lock in .venv (targets that need them make them first)

demo: $(SYNCED) ## run the whole pipeline on the demo cohort and register its models
	dvc repro
	python -m pipeline register
	@echo "report: reports/index.html"

serve: $(SYNCED) ## Prefect, MLflow, the reports and the schedules, on this machine only, until Ctrl-C
	@python -m flows serve

deploy: $(SYNCED) ## put the schedules of infra/prefect.yaml on the Prefect server that PREFECT_API_URL names
	@python -m flows deploy

secrets: ## passwords and settings for the team's servers (infra/compose.yaml), in files of your account
	@$(PYTHON) -m infra.keys

test: $(SYNCED) ## run all tests but those of `make rehearse`
	python -m pytest

rehearse: $(SYNCED) ## test the whole pipeline, runs cut off, a team's servers lost and restored, workers, schedules (some 20 minutes)
	python -m pytest -m rehearsal

torture: $(SYNCED) ## kill, fill up and slow down what works, an hour of rounds; then bad input, then load
	@# each part, whatever one before it found
	@status=0; for part in torture bad_input registrations load; do \
		echo "python -m bench.$$part"; python -m bench.$$part || status=1; \
	done; exit $$status

torture-quick: $(SYNCED) ## a round of each fault that needs no server, three to four minutes
	python -m bench.torture --quick $(if $(SEED),--seed $(SEED))

docs: $(SYNCED) ## run every command of README and docs on a demo made for it, and compare what it prints (some 15 minutes)
	python -m pytest -m documentation -n 0

check: $(SYNCED) ## lint, formatting, types, who imports whom
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-logo

fix: $(SYNCED) ## mend what the linter and the formatter can mend
	ruff check --fix .
	ruff format .

audit: $(SYNCED) ## known vulnerabilities and licences of all locked packages; their bill of materials, sbom.cdx.json
	python -m infra.audit

lock: $(SYNCED) ## resolve pyproject.toml's ranges anew into requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" --quiet --upgrade --group dev pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" --quiet --constraint requirements.lock infra/requirements-gpu.in \
		-o infra/requirements-gpu.lock

clean: ## remove the environment and all caches, but neither data nor results
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

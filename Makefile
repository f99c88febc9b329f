# Kaizen Studio. `make up` and `make test` need nothing but Python 3.11 with venv; `make help` lists the rest.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
LAUNCHER = $(PYTHON) -m launcher

.DEFAULT_GOAL := help
.PHONY: help up down reset panel test check bench services manage requirements

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: ## Start everything and show how to sign in; Ctrl-C stops it
	@exec $(LAUNCHER) up

down: ## Stop everything, whoever started it
	@exec $(LAUNCHER) down

reset: ## Stop everything and delete the local state (asks first; CONFIRM=yes answers)
	@CONFIRM='$(CONFIRM)' exec $(LAUNCHER) reset

panel: ## Print sign-ins, keys and addresses as one line of JSON
	@exec $(LAUNCHER) panel

test: ## Run every test against real services (T="tests/agents -k publish" selects)
	@exec $(LAUNCHER) test $(T) $(ARGS)

check: ## Lint, types, import rules, migrations, templates
	@exec $(LAUNCHER) check

bench: ## Measure what we publish (T=name selects a benchmark)
	@exec $(LAUNCHER) bench $(T) $(ARGS)

bench-%: # One benchmark: make bench-start
	@exec $(LAUNCHER) bench $* $(ARGS)

services: ## Run PostgreSQL and Valkey for development, on free ports; prints their variables
	@exec $(LAUNCHER) services

manage: ## Run manage.py against the running installation (ARGS="backup --help")
	@exec $(LAUNCHER) manage $(ARGS)

requirements: ## Compile the pinned requirements anew
	@exec $(LAUNCHER) requirements

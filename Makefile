# Kaizen Studio. `make help` lists what there is; `make up` and `make test` need nothing but Python 3.11.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
LAUNCHER = $(PYTHON) -m launcher

.DEFAULT_GOAL := help
.PHONY: help test services requirements

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

test: ## Run every test against real services (T="tests/agents -k publish" selects)
	@exec $(LAUNCHER) test $(T) $(ARGS)

services: ## Run PostgreSQL and Valkey for development, on free ports; prints their variables
	@exec $(LAUNCHER) services

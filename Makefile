# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
.DEFAULT_GOAL := help
.PHONY: help demo demo-down demo-report setup docs test-quick test test-all test-swift-upstream bench clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 22

demo: ## build the demo federation, deploy the backbone, use it, report
	@python3 scripts/demo.py up

demo-down: ## remove every trace of the demo federation
	@python3 scripts/demo.py down

demo-report: ## print the last report again
	@python3 scripts/demo.py report

setup: ## make the Python environment
	@scripts/setup test

docs: ## regenerate what is generated from argument specs and module documentation
	@scripts/generate-docs

test-quick: ## lint, sanity and unit tests: no hosts, no root
	@scripts/test-quick

test: ## everything: test-quick, then the demo federation, verified through real clients
	@python3 scripts/test.py

test-all: ## test, and what takes longer: every drill, Swift's own suites, an upgrade
	@python3 scripts/test.py all

test-swift-upstream: ## Swift's own functional and S3 suites against the running demo
	@python3 scripts/swift_upstream.py

bench: ## what ring planning, a second run of the backbone, our proxies, the inventory, the name servers and the logs cost
	@python3 scripts/bench.py rings
	@python3 scripts/bench.py second-run
	@python3 scripts/bench.py swift --without-mesh
	@.venv/bin/python scripts/bench.py inventory
	@.venv/bin/python scripts/bench.py dns
	@.venv/bin/python scripts/bench.py logs

clean: ## remove the Python environments and caches
	rm -rf .venv .cache

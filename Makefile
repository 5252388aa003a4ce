# One word for each thing we do; `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# Another Python first on PATH breaks QGIS's own
export PATH := /usr/bin:$(PATH)
export LC_ALL := C.UTF-8
export LANG := C.UTF-8
# Python's exit can crash after a failed test, when QGIS is gone: what was printed must be out by then
export PYTHONUNBUFFERED := 1
# A folder with a link to this checkout, and a scratch profile: never the user's own
export QGIS_PLUGINPATH := $(CURDIR)/build/plugins
export QGIS_CUSTOM_CONFIG_PATH := $(CURDIR)/build/profile
# Without a display and without this, qgis_process aborts
ifeq ($(DISPLAY),)
export QT_QPA_PLATFORM := offscreen
endif

PYTHON := .venv/bin/python
SHIPPED_CODE := __init__.py engine processing_provider plugin
CODE := $(SHIPPED_CODE) tools tests benchmarks

.PHONY: help setup demo lint test check format performance package clean

help: ## list these words
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' Makefile | expand -t 13

setup: ## bring QGIS, scikit-learn and the test tools (RASTERML_SETUP=check only reports)
	@tools/setup.sh

demo: setup ## map land cover from a real Landsat scene into build/demo/
	@/usr/bin/python3 tools/demo.py

lint: setup ## formatter, linter, types, security, secrets
	$(PYTHON) -m ruff check $(CODE)
	$(PYTHON) -m ruff format --check $(CODE)
	$(PYTHON) -m mypy engine
	$(PYTHON) -m bandit --quiet --recursive --severity-level medium $(SHIPPED_CODE)
	git ls-files -z | xargs -0 $(PYTHON) -m detect_secrets.pre_commit_hook --no-verify

test: lint ## everything CI runs: lint and the whole suite
	$(PYTHON) -m pytest

check: test ## the same

format: setup ## rewrite the code as the formatter likes it
	$(PYTHON) -m ruff check --fix-only $(CODE)
	$(PYTHON) -m ruff format $(CODE)

performance: setup ## measure every claim (some hours; OPTIONS="--rounds 2") and write docs/performance.md
	$(PYTHON) benchmarks/all.py $(OPTIONS); status=$$?; $(PYTHON) tools/performance_doc.py; exit $$status

package: ## zip what QGIS installs into build/rasterml-<version>.zip
	@/usr/bin/python3 tools/package.py

clean: ## remove build/ and the caches, keep .venv
	rm -rf build .mypy_cache .pytest_cache .ruff_cache
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

# What the image's services do, without Docker. Each target sets up what it needs in a virtual environment of this checkout.
#
#   PYTHON=python3.6    the interpreter: 3.6 is the pinned stack, 3.9 to 3.13 the modern one (default: python3)
#   WEIGHTS= DATA=      a checkpoint and a COCO folder (default: the built-in sample)
#   ARGS="--limit 10"   further options of the command, or of pytest
#   OUTPUT=models       where make export writes
#   FUZZ_SECONDS=180    how long make fuzz lasts
#   TORCH_INDEX=        the index to take the modern stack's torch from, such as PyTorch's index of CPU wheels

PYTHON ?= python3
OUTPUT ?= models
FUZZ_SECONDS ?= 180
SHELL := /bin/bash
export TORCH_INDEX

GIVEN = $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(if $(DATA),--data "$(DATA)") $(ARGS)
SHELL_FILES = .ci/run entrypoint.sh $(wildcard tools/*.sh docker/*.sh patches/*/*.sh tests/container/standin/*.sh)

.DEFAULT_GOAL := help
.PHONY: help eval-pth export fetch reproduce sample doctor test fuzz lint venv lock clean

help: ## this list
	@awk '!/^#/ { exit } { sub(/^# ?/, ""); print }' Makefile
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

eval-pth: ## evaluate a checkpoint: the twelve COCO figures and the timings
	@venv=$$(tools/venv.sh "$(PYTHON)") && exec "$$venv/bin/centernet" eval-pth $(GIVEN)

export: ## export to all four targets, and prove that each file detects the same things (into OUTPUT=models)
	@venv=$$(tools/venv.sh "$(PYTHON)") && exec scripts/export.sh "$$venv/bin/centernet" "$(OUTPUT)" "$(WEIGHTS)" "$(DATA)" $(ARGS)

fetch: ## download the published checkpoints and COCO val2017, 1.2 GB, into models/ and data/coco/
	@venv=$$(tools/venv.sh "$(PYTHON)") && exec "$$venv/bin/centernet" fetch $(if $(DATA),--data "$(DATA)") $(ARGS)

reproduce: ## measure the published figures again and verify every export (ARGS=--sample: the built-in sample's)
	@venv=$$(tools/venv.sh "$(PYTHON)") && exec "$$venv/bin/centernet" reproduce $(GIVEN)

sample: ## draw the built-in data set
	@venv=$$(tools/venv.sh "$(PYTHON)") && exec "$$venv/bin/centernet" sample $(ARGS)

doctor: ## say what is installed, compiled and visible here, and what is missing
	@venv=$$(tools/venv.sh "$(PYTHON)") && exec "$$venv/bin/centernet" doctor $(GIVEN)

test: ## run the tests that this machine can run, and say why the others are skipped
	@venv=$$(tools/venv.sh "$(PYTHON)") && exec "$$venv/bin/python" -m pytest $(ARGS)

fuzz: ## hostile checkpoints, annotations and ONNX files, for FUZZ_SECONDS
	@venv=$$(tools/venv.sh "$(PYTHON)") && exec "$$venv/bin/python" tests/fuzz --seconds $(FUZZ_SECONDS) $(ARGS)

lint: ## ruff, shellcheck, hadolint, and the compose and CI files against their schemas (needs Python 3.9 to 3.13)
	@venv=$$(tools/venv.sh "$(PYTHON)" lint) && "$$venv/bin/ruff" check . && "$$venv/bin/shellcheck" $(SHELL_FILES) \
		&& "$$venv/bin/hadolint" Dockerfile \
		&& "$$venv/bin/check-jsonschema" --builtin-schema compose-spec docker-compose.yml docker/compose.gpu.yml \
		&& "$$venv/bin/check-jsonschema" --builtin-schema vendor.github-workflows .github/workflows/*.yml \
		&& "$$venv/bin/check-jsonschema" --builtin-schema vendor.gitlab-ci .gitlab-ci.yml

venv: ## only set up the environment, and print its path
	@tools/venv.sh "$(PYTHON)"

lock: ## resolve requirements/*.in anew into the hashed locks (ARGS=--upgrade: to the newest)
	@tools/lock.sh "$(PYTHON)" $(ARGS)

clean: ## remove the environments, builds and caches of this checkout
	rm -rf .venv-* build dist .pytest_cache .ruff_cache .hypothesis src/*.egg-info
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

# The image's services without Docker. Each target prepares a virtual environment in this checkout and runs in it.
#
#   PYTHON=python3.6    interpreter: 3.6 for the pinned stack, 3.9 to 3.13 for the modern one (default: python3)
#   WEIGHTS= DATA=      checkpoint, and data set in COCO's layout (default: the built-in sample)
#   SOURCE=photos       pictures, videos and folders for make detect (default: the sample's)
#   DEVICE=cpu          auto, cpu, cuda or cuda:N (default: auto)
#   ARGS="--limit 10"   further options of the command, or of pytest
#   FUZZ_SECONDS=180    how long make fuzz runs
#   TORCH_INDEX=        package index to take torch from (modern stack; default: chosen for the machine)

PYTHON ?= python3
FUZZ_SECONDS ?= 180
SHELL := /bin/bash
export WEIGHTS DATA SOURCE DEVICE TORCH_INDEX

IN_VENV = @venv=$$(tools/venv.sh "$(PYTHON)") && exec "$$venv"/bin/
SHELL_FILES = .ci/run entrypoint.sh $(wildcard tools/*.sh docker/*.sh deploy/*/*.sh patches/*/*.sh tests/container/standin/*.sh)

.DEFAULT_GOAL := help
.PHONY: help eval-pth export verify eval-onnx merge detect report dump-inputs eval-outputs fetch reproduce sample doctor test fuzz lint format venv lock clean

help: ## show this list
	@awk '!/^#/ { exit } { sub(/^# ?/, ""); print }' Makefile
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

eval-pth: ## evaluate a checkpoint
	$(IN_VENV)centernet eval-pth $(ARGS)

export: ## export a checkpoint to every target, and verify each file
	$(IN_VENV)centernet export --verify $(ARGS)

verify: ## verify ONNX files against their checkpoint
	$(IN_VENV)centernet verify $(ARGS)

eval-onnx: ## evaluate an ONNX file
	$(IN_VENV)centernet eval-onnx $(ARGS)

merge: ## merge the shards of an evaluation, in output/eval-pth
	$(IN_VENV)centernet merge $(ARGS)

detect: ## detect objects on pictures and videos
	$(IN_VENV)centernet detect $(ARGS)

report: ## show curves, errors and pictures of an evaluation on a page (ARGS="RUN RUN2": what differs)
	$(IN_VENV)centernet report $(ARGS)

dump-inputs: ## write inputs as files, to run them on a device
	$(IN_VENV)centernet dump-inputs $(ARGS)

eval-outputs: ## evaluate the outputs of a device, in output/outputs
	$(IN_VENV)centernet eval-outputs $(ARGS)

fetch: ## download the published checkpoints and COCO val2017, 1.2 GB, into models/ and data/coco/
	$(IN_VENV)centernet fetch $(ARGS)

reproduce: ## reproduce the published results (ARGS=--sample: those of the built-in sample)
	$(IN_VENV)centernet reproduce $(ARGS)

sample: ## write the built-in data set
	$(IN_VENV)centernet sample $(ARGS)

doctor: ## report what is installed, compiled and visible, and what is missing
	$(IN_VENV)centernet doctor $(ARGS)

test: ## run the tests (ARGS="-m slow": those that take long)
	$(IN_VENV)python -m pytest $(ARGS)

fuzz: ## feed hostile checkpoints, annotations and ONNX files to the readers, for FUZZ_SECONDS
	$(IN_VENV)python tests/fuzz --seconds $(FUZZ_SECONDS) $(ARGS)

lint: ## check style, types, shell scripts, Dockerfile, and the compose and CI files (Python 3.9 to 3.13)
	@venv=$$(tools/venv.sh "$(PYTHON)" lint) && "$$venv/bin/ruff" check . && "$$venv/bin/ruff" format --check . \
		&& "$$venv/bin/mypy" \
		&& "$$venv/bin/shellcheck" $(SHELL_FILES) \
		&& "$$venv/bin/hadolint" Dockerfile \
		&& "$$venv/bin/check-jsonschema" --builtin-schema compose-spec docker-compose.yml docker/compose.*.yml \
		&& "$$venv/bin/check-jsonschema" --builtin-schema vendor.github-workflows .github/workflows/*.yml deploy/ci/github-actions.yml \
		&& "$$venv/bin/check-jsonschema" --builtin-schema vendor.gitlab-ci .gitlab-ci.yml deploy/ci/gitlab-ci.yml

format: ## format the Python files
	@venv=$$(tools/venv.sh "$(PYTHON)" lint) && "$$venv/bin/ruff" format . && "$$venv/bin/ruff" check --fix .

venv: ## only prepare the environment, and print its path
	@tools/venv.sh "$(PYTHON)"

lock: ## resolve requirements/*.in into the hashed locks (ARGS=--upgrade: to the newest versions)
	@tools/lock.sh "$(PYTHON)" $(ARGS)

clean: ## remove the environments, builds and caches of this checkout
	rm -rf .venv-* build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis src/*.egg-info
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

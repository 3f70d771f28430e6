# The image of either stack: STACK=pinned (Python 3.6, torch 1.0.0) or modern (Python 3.11, torch 2).
# docs/container.md lists the build arguments.
#
#   base -> toolchain -> packages -> operator      build stages; only finished files are copied out of them
#   base -> runtime -> test                        final stages; no compiler, no CUDA toolkit
#   toolchain -> dev                               for work on a checkout
#
# Requires BuildKit. There is no syntax line: any BuildKit that supports cache mounts and secrets will do.
ARG STACK=pinned
ARG BASE_IMAGE

FROM ubuntu:18.04@sha256:152dc042452c496007f07ca9127571cb9c29697f42acbfad72324b2bb2e43c98 AS pinned-system
# bookworm-20260824-slim, for every architecture
FROM debian:bookworm-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171 AS modern-system

# hadolint ignore=DL3006
FROM ${BASE_IMAGE:-${STACK}-system} AS base
# SC3009, SC3054: hadolint takes bash for sh here
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
ARG STACK
ARG APT_MIRROR
ARG APT_SNAPSHOT
# hadolint ignore=SC3054
RUN --mount=type=bind,source=docker,target=/build \
    --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    --mount=type=secret,id=ca \
    . /build/stack.sh && /build/install-packages.sh "${RUNTIME_PACKAGES[@]}"


FROM base AS toolchain
ARG CUDA=10.0
ARG CUDA_REPOSITORY=https://developer.download.nvidia.com/compute/cuda/repos/ubuntu1804/x86_64
# hadolint ignore=SC3054
RUN --mount=type=bind,source=docker,target=/build --mount=type=bind,source=requirements/cuda.txt,target=/requirements/cuda.txt \
    --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    --mount=type=cache,target=/root/.cache/pip,sharing=locked --mount=type=secret,id=ca --mount=type=secret,id=pip \
    . /build/stack.sh && /build/install-packages.sh "${BUILD_PACKAGES[@]}" \
    && /build/install-cuda.sh "$STACK" "$CUDA"


# Third-party packages; torch 1.0.0 is patched. -g0: debug information would record the random names of pip's build folders
# and make every build different.
FROM toolchain AS packages
ARG TORCH_WHEEL
ARG TORCH_SHA256
ARG SOURCE_DATE_EPOCH=1577836800
ENV CFLAGS=-g0 CXXFLAGS=-g0 SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} PYTHONDONTWRITEBYTECODE=1 PATH=/opt/venv/bin:${PATH}
WORKDIR /src
COPY requirements requirements
RUN --mount=type=bind,source=docker,target=/src/docker --mount=type=cache,target=/root/.cache/pip,sharing=locked \
    --mount=type=secret,id=ca --mount=type=secret,id=pip \
    docker/install-python.sh stack /opt/venv
COPY patches/torch-1.0.0 patches/torch-1.0.0
RUN --mount=type=bind,source=docker,target=/src/docker \
    if [ "$STACK" = pinned ]; then patches/torch-1.0.0/apply.sh /opt/venv/bin/python; fi \
    && docker/make-reproducible.sh python /opt/venv


# Our package with its compiled operator, in a stage of its own, so that a code change replaces a small layer only.
FROM packages AS operator
COPY setup.py setup.cfg pyproject.toml README.md LICENSE NOTICE ./
COPY src src
RUN --mount=type=bind,source=docker,target=/src/docker \
    CENTERNET_DCN=compiled python -m pip install --quiet --no-deps --no-build-isolation --no-index --no-cache-dir --no-compile --root /installed . \
    && docker/make-reproducible.sh python /installed


# without pip, and without what torch brings for compiling and for its own tests
FROM packages AS lean
# hadolint ignore=SC3009
RUN python -m pip uninstall --quiet --yes wheel pip \
    && rm -rf /opt/venv/lib/python3.*/site-packages/torch/{include,share,test,lib/include,bin/*[tT]est*,bin/protoc*}


FROM packages AS test-tools
RUN --mount=type=bind,source=docker,target=/src/docker --mount=type=cache,target=/root/.cache/pip,sharing=locked \
    --mount=type=secret,id=ca --mount=type=secret,id=pip \
    docker/install-python.sh tests /opt/tests/tools && docker/make-reproducible.sh python /opt/tests/tools


FROM base AS runtime
ARG CUDA=10.0
ENV PATH=/opt/venv/bin:${PATH} LANG=C.UTF-8 HOME=/tmp PYTHONDONTWRITEBYTECODE=1 \
    CENTERNET_CONTAINER=1 CENTERNET_STACK=${STACK} CENTERNET_CUDA=${CUDA} \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility CUDA_DEVICE_ORDER=PCI_BUS_ID
COPY --from=lean /opt/venv /opt/venv
COPY --from=operator /installed /
# Check that the operator loads, and supports CUDA exactly when requested. The CUDA runtime library is not installed here: the
# loader finds the copy that torch has already loaded, which has the same SONAME, so a process holds only one.
RUN python -c "import os; from centernet.kernels import compiled; print(compiled.description()); \
               assert compiled.description() and ('CUDA' in compiled.description()) == (os.environ['CENTERNET_CUDA'] != 'none')" \
    && mkdir -p /workspace/data /workspace/input /workspace/models /workspace/output
COPY src/*.py /opt/centernet/
COPY entrypoint.sh /usr/local/bin/entrypoint.sh
WORKDIR /workspace
ARG REVISION
ENV CENTERNET_REVISION=${REVISION}
LABEL org.opencontainers.image.title="centernet-container" \
      org.opencontainers.image.description="Evaluate a CenterNet checkpoint, export it to ONNX and verify the export" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.revision="${REVISION}"
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/entrypoint.sh"]
CMD ["eval-pth"]


# Tests import the installed package; processes that they start import the checkout, so it gets the compiled operator too.
FROM runtime AS test
RUN --mount=type=bind,source=docker/install-packages.sh,target=/build/install-packages.sh \
    --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    --mount=type=secret,id=ca \
    /build/install-packages.sh patch
COPY --from=test-tools /opt/tests/tools /opt/tests/tools
COPY . /opt/tests/checkout
RUN cp /opt/venv/lib/python3.*/site-packages/centernet/kernels/_torch_*.so /opt/tests/checkout/src/centernet/kernels/
ENV PYTHONPATH=/opt/tests/tools
CMD ["test"]


# For work on a mounted checkout, see .devcontainer: what make, the tests and the linters need, and a user that is not root.
FROM toolchain AS dev
RUN --mount=type=bind,source=docker/install-packages.sh,target=/build/install-packages.sh \
    --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    --mount=type=secret,id=ca \
    /build/install-packages.sh ca-certificates git less make openssh-client \
    && useradd --create-home --shell /bin/bash dev
ENV LANG=C.UTF-8


FROM runtime

# To be sourced: what differs between the stacks. STACK is pinned or modern.
# shellcheck shell=bash disable=SC2034

case ${STACK:-} in
    pinned)
        PYTHON=python3.6
        RUNTIME_PACKAGES=(python3.6 python3-distutils)
        ;;
    modern)
        PYTHON=python3.11
        RUNTIME_PACKAGES=(python3.11)
        ;;
    *) echo "error: STACK='${STACK:-}' is not a stack; use pinned or modern" >&2 && exit 2 ;;
esac
BUILD_PACKAGES=(gcc g++ libc6-dev patch "$PYTHON-dev" "$PYTHON-venv")

#!/bin/bash
# Apply this folder's series to the torch 1.0.0 of an interpreter: all of it, or nothing.
#
#   patches/torch-1.0.0/apply.sh <python>
#
# original.sha256 and patched.sha256 say what each file is before and after; any other torch, and a file that was changed by
# others, is refused. What is patched already is left as it is. torch is found without being imported. Needs the program 'patch'.
#
# Exit status: 0 patched, now or already; 2 not patched, and nothing was changed.
set -euo pipefail

python=${1:?usage: patches/torch-1.0.0/apply.sh <python>}
here=$(cd "$(dirname "$0")" && pwd)

fail() {
    echo "torch-1.0.0 patches: error: $*" >&2
    exit 2
}

command -v "$python" >/dev/null || fail "there is no $python"
site=$("$python" - <<'PYTHON'
import importlib.util
import os
import sys

sys.path = [path for path in sys.path if path]
found = importlib.util.find_spec('torch')
print(os.path.dirname(os.path.dirname(found.origin)) if found and found.origin else '')
PYTHON
) || fail "$python cannot be run"
[ -n "$site" ] || fail "$python has no torch"
version=$(sed -nE "s/^__version__ = '([^']*)'.*/\1/p" "$site/torch/version.py" 2>/dev/null || true)
[ "$version" = 1.0.0 ] || fail "$site has torch ${version:-of an unknown version}, and these patches are for 1.0.0 alone"

# sha256_in <list> <file>: what the list says that the file's checksum is
sha256_in() { awk -v file="$2" '$2 == file { print $1 }' "$here/$1"; }
sha256_of() { sha256sum <"$1" | cut -d ' ' -f 1; }

files=()
pending=()
while read -r patch; do
    file=$(sed -nE 's|^\+\+\+ b/||p' "$here/$patch")
    files+=("$file")
    [ -f "$site/$file" ] || fail "$site/$file is missing; install torch 1.0.0 anew"
    checksum=$(sha256_of "$site/$file")
    case $checksum in
        "$(sha256_in patched.sha256 "$file")") ;;
        "$(sha256_in original.sha256 "$file")") pending+=("$patch") ;;
        *) fail "$site/$file is not torch 1.0.0's own (sha256 $checksum); install torch 1.0.0 anew, then apply these patches" ;;
    esac
done <"$here/series"

if [ ${#pending[@]} = 0 ]; then
    echo "torch-1.0.0 patches: already applied to $site/torch"
    exit
fi
command -v patch >/dev/null || fail "the program 'patch' is missing; install it (Debian, Ubuntu and Fedora: the package 'patch')"

# Patched copies are made and checked elsewhere, then laid beside the originals, then renamed: what fails, fails before the last step.
work=$(mktemp -d)
staged=()
trap 'rm -rf "$work" ${staged[@]+"${staged[@]}"}' EXIT
trap 'exit 130' INT TERM
for file in "${files[@]}"; do
    mkdir -p "$work/$(dirname "$file")"
    cp "$site/$file" "$work/$file"
done
for patch in "${pending[@]}"; do
    patch -d "$work" -p1 -F 0 --quiet -i "$here/$patch" >&2 || fail "$patch does not apply"
done
for file in "${files[@]}"; do
    [ "$(sha256_of "$work/$file")" = "$(sha256_in patched.sha256 "$file")" ] || fail "$file came out other than patched.sha256 says"
done
for file in "${files[@]}"; do
    new=$(mktemp "$site/$file.XXXXXX" 2>/dev/null) || fail "$(dirname "$site/$file") cannot be written"
    staged+=("$new")
    { chmod --reference="$site/$file" "$new" && cat "$work/$file" >"$new"; } || fail "$new cannot be written"
done
for number in "${!files[@]}"; do
    mv -f "${staged[$number]}" "$site/${files[$number]}"
done
staged=()
echo "torch-1.0.0 patches: ${pending[*]} applied to $site/torch"

#!/bin/bash
# Apply this folder's series to a checkout of CenterNet or of a fork: all that was asked for, or nothing.
#
#   patches/centernet/apply.sh [--dry-run] <checkout> [patch]...
#
# A patch is named by its number or its file, such as 0001; without one the whole series is applied. --dry-run says what would be
# done. What is applied already is left as it is; a file in which a patch does not find its place is refused, with the lines that
# differ. Lines may have moved within a file, but the lines around a change have to be the same. Needs the program 'patch'.
#
# Exit status: 0 applied, now or already (or could be, with --dry-run); 2 refused, and nothing was changed.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)

say() { echo "centernet patches: $*"; }
fail() {
    echo "centernet patches: error: $*" >&2
    exit 2
}

dry=
checkout=
names=()
for word in "$@"; do
    case $word in
        --dry-run) dry=yes ;;
        -*) fail "unknown flag $word; usage: patches/centernet/apply.sh [--dry-run] <checkout> [patch]..." ;;
        *) if [ -z "$checkout" ]; then checkout=$word; else names+=("$word"); fi ;;
    esac
done
[ -n "$checkout" ] || fail "which checkout? usage: patches/centernet/apply.sh [--dry-run] <checkout> [patch]..."
[ -f "$checkout/src/lib/models/model.py" ] || fail "$checkout is no checkout of CenterNet: it has no src/lib/models/model.py"
command -v patch >/dev/null || fail "the program 'patch' is missing; install it (Debian, Ubuntu and Fedora: the package 'patch')"
checkout=$(cd "$checkout" && pwd)

mapfile -t series <"$here/series"
for name in ${names[@]+"${names[@]}"}; do
    printf '%s\n' "${series[@]}" | grep -q -e "^$name-" -e "^$name\$" || fail "there is no patch $name; there are: ${series[*]}"
done

# is_wanted <patch>
is_wanted() {
    local name
    if [ ${#names[@]} = 0 ]; then return; fi
    for name in "${names[@]}"; do
        case $1 in "$name" | "$name"-*) return ;; esac
    done
    return 1
}

# files_of <patch>: what it changes, relative to the checkout
files_of() { sed -nE 's|^\+\+\+ b/||p' "$here/$1"; }

# Patched copies are made elsewhere, then laid beside the originals, then renamed: what fails, fails before the last step.
work=$(mktemp -d)
staged=()
trap 'rm -rf "$work" ${staged[@]+"${staged[@]}"}' EXIT
trap 'exit 130' INT TERM

# try <option>... <patch>: on the copies
try() { patch -d "$work" -p1 -F 0 -r - --no-backup-if-mismatch --force "${@:1:$#-1}" -i "$here/${!#}" >"$work/said" 2>&1; }

changed=()
for patch in "${series[@]}"; do
    is_wanted "$patch" || continue
    while read -r file; do
        [ -f "$checkout/$file" ] || fail "$patch: $checkout/$file is missing; nothing was changed"
        if ! [ -f "$work/$file" ]; then
            mkdir -p "$work/$(dirname "$file")"
            cp "$checkout/$file" "$work/$file"
        fi
    done < <(files_of "$patch")
    if try --dry-run -R "$patch"; then
        say "$patch: applied already"
    elif try --dry-run "$patch"; then
        try "$patch"
        mapfile -t -O ${#changed[@]} changed < <(files_of "$patch")
        say "$patch: fits"
    else
        cat "$work/said" >&2
        fail "$patch does not fit this checkout, as said above; nothing was changed"
    fi
done

if [ ${#changed[@]} = 0 ]; then
    say "nothing is left to do in $checkout"
    exit
fi
if [ -n "$dry" ]; then
    say "dry run: nothing was changed in $checkout"
    exit
fi
mapfile -t changed < <(printf '%s\n' "${changed[@]}" | sort -u)
for file in "${changed[@]}"; do
    new=$(mktemp "$checkout/$file.XXXXXX" 2>/dev/null) || fail "$(dirname "$checkout/$file") cannot be written; nothing was changed"
    staged+=("$new")
    { chmod --reference="$checkout/$file" "$new" && cat "$work/$file" >"$new"; } || fail "$new cannot be written; nothing was changed"
done
for number in "${!changed[@]}"; do
    mv -f "${staged[$number]}" "$checkout/${changed[$number]}"
done
staged=()
say "applied to $checkout: ${changed[*]}"

#!/bin/sh
# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Removes the environments that nobody needs, and what runs that were killed left, and says which environments. What a link
# leads to stays, what a program runs of, and of the others those that a link led to last.
#
# Usage: keep-environments.sh [--check] STORE KEEP LINK KEEPER ENVIRONMENT
#
#   --check      changes nothing, and says what would be removed once LINK leads to ENVIRONMENT
#   KEEP         how many of the others stay; when nothing is left to be done STORE/.tidy-KEEP says so
#   LINK         beside it may lie an environment that an earlier release of the collection made
#   KEEPER       the account that can change that directory, empty where root alone can
set -eu
cd /
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
check=
if [ "$1" = --check ]; then
  check=yes
  shift
fi
store=$1 keep=$2 link=$3 keeper=$4 environment=$5
tidy=yes

# A check of a bare host
[ -d "$store" ] || exit 0
if [ -z "$check" ]; then
  (umask 077 && : >>"$store/.lock")
  exec 9>>"$store/.lock"
  flock --timeout 900 9 ||
    { echo "another deployment has been running in $store for 15 minutes; wait until it has ended" >&2; exit 1; }
fi

# as_keeper PROGRAM [ARGUMENT...]
as_keeper() {
  if [ "$(id -u)" != 0 ] || [ "${keeper:-root}" = root ]; then "$@"
  else setpriv --reuid="$(id -u -- "$keeper")" --regid="$(id -g -- "$keeper")" --init-groups -- "$@"
  fi 9>&-
}

needed=" ${environment##*/} "
for record in "$store"/.links/*; do
  [ -f "$record" ] || continue
  other=$(head -n 1 "$record")
  [ "$other" != "$link" ] || continue
  target=$(readlink -- "$other") || target=
  case $target in
    "$store"/????????????????) needed="$needed${target##*/} " ;;
    *) [ -n "$check" ] || rm -f "$record" ;;
  esac
done
running=" $(grep -aohE "^$store/[0-9a-f]{16}/" /proc/[0-9]*/cmdline 2>/dev/null | sed "s|^$store/||; s|/.*||" | tr '\n' ' ')"

# The newest first: a link that leads away from one touches it, as LINK still will after a check.
now=$(readlink -- "$link") || now=
others=0
for name in $( (echo "${now##*/}" && ls -1t "$store") | grep -xE '[0-9a-f]{16}' | awk '!seen[$0]++'); do
  case $needed in *" $name "*) continue ;; esac
  others=$((others + 1))
  [ "$others" -gt "$keep" ] || continue
  case $running in *" $name "*) tidy=no && continue ;; esac
  if [ -n "$check" ]; then
    echo "would remove $store/$name"
    continue
  fi
  # under the name of a draft, so that a removal that is interrupted goes on in the next run
  mv -T "$store/$name" "$store/.$name.removed.draft"
  echo "removed $store/$name"
done
[ -z "$check" ] || exit 0
rm -rf "$store"/.*.draft "$store"/.*.log
# Another run may be about to use its own, but not for an hour.
find "$store" -maxdepth 1 -name '.*.inputs' -mmin +60 | while read -r inputs; do
  name=${inputs##*/.}
  [ -d "$store/${name%.inputs}" ] || rm -rf "$inputs"
done

# Looked at again, and emptied as the directory in which this shell is: the account whose directory it lies in can put
# something else at its path at any time. It is root's, and nobody else could write its mark.
empty_former() {
  cd -P -- "$1" 2>/dev/null && [ "$(stat -c %d:%i .)" = "$(stat -c %d:%i -- "$1")" ] || return 0
  [ "$(stat -c %u .)" = "$(id -u)" ] && [ -z "$(find . -maxdepth 0 -perm /022)" ] || return 0
  [ "$(stat -c '%u %F' installed-from)" = "$(id -u) regular file" ] && [ -f pyvenv.cfg ] || return 0
  grep -qxE '[^[:space:]]+ [0-9a-f]{64}' installed-from && find . -mindepth 1 -delete
}
directory=${link%/*}/ name=${link##*/}
find "$directory" -maxdepth 1 -name ".*.former" 2>/dev/null | while read -r former; do
  case ${former##*/} in
    ".$name."*.former) (empty_former "$former") 2>/dev/null && as_keeper rmdir -- "$former" ;;
  esac
done || true

rm -f "$store"/.tidy-*
[ "$tidy" = no ] || : >"$store/.tidy-$keep"

#!/bin/sh
# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Points the link at an environment that the service's account can run, in one step.
#
# Usage: point-link.sh LINK ENVIRONMENT ACCOUNT KEEPER THERE
#
# KEEPER is the account with whose rights the link is made, because it can change the directory; empty where root alone
# can. THERE is what lies at LINK: nothing, empty, link, former (made by an earlier release, and moved aside to be
# removed) or foreign (made by hand, and moved aside to be kept).
set -eu
umask 022
cd /
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
link=$1 environment=$2 account=$3 keeper=$4 there=$5
store=${environment%/*}

# as ACCOUNT PROGRAM [ARGUMENT...]: with the account's rights, or nobody's where there is no such account yet
as() {
  uid=$(id -u -- "$1" 2>/dev/null) || uid=
  gid=$(id -g -- "$1" 2>/dev/null) || gid=
  shift
  if [ "$(id -u)" != 0 ] || [ "$uid" = 0 ]; then "$@" 9>&-
  elif [ -n "$uid" ]; then setpriv --reuid="$uid" --regid="$gid" --init-groups -- "$@" 9>&-
  else setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@" 9>&-
  fi
}

(umask 077 && : >>"$store/.lock")
exec 9>>"$store/.lock"
flock --timeout 900 9 || { echo "another deployment has been running in $store for 15 minutes; wait until it has ended" >&2; exit 1; }
if ! said=$(as "$account" env -i "PATH=$PATH" LC_ALL=C.UTF-8 HOME=/nonexistent XDG_CONFIG_HOME=/nonexistent \
  XDG_CONFIG_DIRS=/nonexistent "$environment/bin/devpi-server" --version 2>&1); then
  # Without its mark the next run makes it anew.
  rm -f "$environment/installed-from"
  printf '%s\n' "the account $account cannot run devpi-server of $environment, so $link was not changed; run again:" \
    "$said" >&2
  exit 1
fi

# Which environments are needed is looked at anew after this. The one before is the last that a link led away from.
rm -f "$store"/.tidy-*
before=$(as "${keeper:-root}" readlink -- "$link") || before=
case $before in "$store"/????????????????) [ ! -d "$before" ] || touch -- "$before" ;; esac
mkdir -p "$store/.links"
printf '%s\n' "$link" >"$store/.links/$(printf %s "$link" | sha256sum | cut -c1-16)"

# shellcheck disable=SC2016 # the other shell expands it
as "${keeper:-root}" sh -euc '
umask 022
link=$1 environment=$2 there=$3
directory=${link%/*}/ name=${link##*/}
mkdir -p -- "$directory"
ln -sfnT -- "$environment" "$directory.$name.link"
if [ -d "$link" ] && [ ! -L "$link" ]; then
  case $there in
    former) mv -T -- "$link" "$directory.$name.$$.former" ;;
    foreign)
      aside=$link.before-wheelhouse number=1
      while [ -e "$aside" ] || [ -L "$aside" ]; do
        number=$((number + 1))
        aside=$link.before-wheelhouse-$number
      done
      mv -T -- "$link" "$aside"
      printf "%s\n" "moved $link to $aside"
      ;;
    *)
      # It was empty, or not there, when it was looked at.
      rmdir -- "$link" || { rm -f -- "$directory.$name.link"; exit 1; }
      ;;
  esac
fi
mv -fT -- "$directory.$name.link" "$link"
' sh "$link" "$environment" "$there"

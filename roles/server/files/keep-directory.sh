#!/bin/sh
# Keeps a directory that lies in one of the account's: keep-directory.sh ACCOUNT GROUP MODE DIRECTORY
# It is made, with what is missing above it, and its mode is set with the account's rights, for root follows nothing there.
set -eu
cd /
account=$1 group=$2 mode=$3 directory=$4

# Who may pass through it has to pass through those above, too.
above=077
[ "$mode" = 0700 ] || above=066
# shellcheck disable=SC2016 # another shell reads it
runuser -u "$account" -- sh -euc '
(umask "$1" && mkdir -p -- "$(dirname -- "$3")")
[ -d "$3" ] || mkdir -m 0700 -- "$3"
chmod 0700 -- "$3"
[ "$4" != own ] || chgrp -- "$(id -g)" "$3"
chmod -- "$2" "$3"
' keep-directory "$above" "$mode" "$directory" "$([ "$group" = "$(id -gn -- "$account")" ] && echo own || echo other)"

if [ "$group" != "$(id -gn -- "$account")" ]; then
  # Only root can give it to a group that the account is not in. What it stands in then stays the same directory,
  # whatever the account does with the way there, and has to be the account's.
  cd -P -- "$directory"
  [ "$(stat --format=%u .)" = "$(id -u -- "$account")" ] || {
    echo "$directory belongs to somebody else now; find out who changes it while it is deployed, and run this again" >&2
    exit 1
  }
  # Never open to a group that it was not meant for
  chmod 0700 .
  chown ":$group" .
  chmod "$mode" .
fi

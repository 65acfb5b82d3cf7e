#!/bin/sh
# Makes the secret that signs logins, a line of 32 random bytes, whole or not at all: make-secret.sh KEEPER ACCOUNT FILE
# KEEPER is whose rights are used: root's, or the account's where it could change what leads to FILE.
set -eu
cd /
umask 077
lock=/run/wheelhouse.devpi.lock
exec 9>>"$lock"
flock --timeout 120 9 || {
  echo "another deployment is running on this host and holds $lock; wait until it has ended, and run this again" >&2
  exit 75
}

# shellcheck disable=SC2016 # another shell reads it
make='
set -eu
account=$1 file=$2
# Another deployment has made it meanwhile.
if [ -e "$file" ]; then exit; fi
(umask 022 && mkdir -p -- "$(dirname -- "$file")")
umask 077
draft=$file.draft
# The lock keeps others from being at it, so this was left by a run that was killed.
rm -f -- "$draft"
trap "rm -f -- \"\$draft\"" EXIT
set -C
head -c 32 /dev/urandom | base64 | tr -d "\n" >"$draft"
[ "$(wc -c <"$draft")" = 44 ]
if [ "$(id -u)" = 0 ]; then chown -- "$account:" "$draft"; fi
sync -- "$draft"
# A link, unlike a rename, takes the place of nothing.
ln -- "$draft" "$file"
'

keeper=$1
shift
if [ "$keeper" = root ]; then
  exec sh -c "$make" make-secret "$@"
fi
exec runuser -u "$keeper" -- sh -c "$make" make-secret "$@"

#!/bin/sh
# Makes the database of a new server, whole or not at all: make-database.sh ACCOUNT DIRECTORY VENV CREDENTIALS
# The line that it reads is the password of devpi's root. Where that is empty, the file root in CREDENTIALS has it, which
# is made where it is missing.
set -eu
cd /
umask 077
account=$1 directory=$2 venv=$3 credentials=$4
IFS= read -r password || true
lock=/run/wheelhouse.devpi.lock
exec 9>>"$lock"
flock --timeout 120 9 || {
  echo "another deployment is running on this host and holds $lock; wait until it has ended, and run this again" >&2
  exit 75
}

file=$credentials/root
if [ -z "$password" ] && ! [ -e "$file" ]; then
  (umask 022 && mkdir -p -- "$(dirname -- "$credentials")")
  [ -d "$credentials" ] || mkdir -- "$credentials"
  # No devpi user has a + in the name.
  draft=$credentials/.password.root+draft
  # The lock keeps others from being at it, so this was left by a run that was killed.
  rm -f -- "$draft"
  set -C
  exec 8>"$draft"
  set +C
  # devpi_users takes one that is not locked for what a killed run left.
  flock --nonblock 8
  head -c 24 /dev/urandom | base64 | tr +/ -_ >&8
  [ "$(wc -c <"$draft")" = 33 ]
  sync -- "$draft"
  # A link, unlike a rename, takes the place of nothing: devpi_users may have made one meanwhile.
  ln -- "$draft" "$file" || [ -e "$file" ]
  rm -- "$draft"
  exec 8>&-
fi
if [ -z "$password" ]; then
  IFS= read -r password <"$file"
fi

# shellcheck disable=SC2016 # another shell reads it
make='
set -eu
IFS= read -r DEVPISERVER_ROOT_PASSWD
export DEVPISERVER_ROOT_PASSWD
cd -P -- "$1"
# Another deployment has made it meanwhile.
if [ -e .nodeinfo ]; then exit; fi
whole=
for draft in .initializing .initializing.*; do
  # A run was killed while it moved the content of this one out.
  if [ -e .sqlite ] && [ -e "$draft/.nodeinfo" ]; then whole=$draft; fi
done
if [ -z "$whole" ]; then
  if [ -e .sqlite ]; then
    echo "$1 holds a database (.sqlite) without its .nodeinfo; restore that file, or move the directory away" >&2
    exit 1
  fi
  rm -rf --one-file-system -- .initializing .initializing.*
  # devpi-init wants an empty directory.
  whole=$(mktemp -d .initializing.XXXXXXXX)
  # Without a file it would take a configuration that the account has put in its way.
  "$2/bin/python" -I "$2/bin/devpi-init" --configfile /dev/null --serverdir "$PWD/$whole" --no-root-pypi
fi
for each in "$whole"/* "$whole"/.[!.]*; do
  if [ -e "$each" ] && [ "$each" != "$whole/.nodeinfo" ]; then mv -T -- "$each" "${each#"$whole/"}"; fi
done
# With it the database is whole; without it the next run starts over or goes on.
mv -T -- "$whole/.nodeinfo" .nodeinfo
rmdir -- "$whole"
'
home=$(getent passwd "$account" | cut -d: -f6)
printf '%s\n' "$password" |
  runuser -u "$account" -- /usr/bin/env -i PATH="$PATH" HOME="$home" USER="$account" LOGNAME="$account" \
    LC_ALL=C.UTF-8 /bin/sh -c "$make" make-database "$directory" "$venv"

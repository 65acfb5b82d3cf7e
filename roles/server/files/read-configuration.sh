#!/bin/sh
# Has devpi-server read a configuration as its account, and fails where it cannot: read-configuration.sh ACCOUNT VENV FILE
# Only root can read FILE.
set -eu
cd /
# shellcheck disable=SC2016 # another shell reads it
devpi_read='
umask 077
devpi_draft=$(mktemp)
trap "rm -f -- \"\$devpi_draft\"" EXIT
cat >"$devpi_draft"
"$1/bin/python" -I "$1/bin/devpi-server" --configfile "$devpi_draft" --version 2>&1
'
devpi_code=0
devpi_said=$(runuser -u "$1" -- /usr/bin/env -i PATH="$PATH" HOME=/nonexistent LC_ALL=C.UTF-8 \
  /bin/sh -euc "$devpi_read" read-configuration "$2" <"$3") || devpi_code=$?
# It ignores what it does not know, and exits with 0.
case $devpi_said in *"Unknown devpi-server option"*) devpi_code=1 ;; esac
if [ "$devpi_code" != 0 ]; then
  echo "devpi-server cannot read the configuration, so the old one was kept:" >&2
  printf '%s\n' "$devpi_said" | tail -n 5 >&2
  exit 1
fi

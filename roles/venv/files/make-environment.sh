#!/bin/sh
# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Makes a virtual environment whole, or not at all: as a draft beside its place, which the service's account tries, and
# which is then renamed.
#
# Usage: make-environment.sh ENVIRONMENT PYTHON ACCOUNT <INPUTS
#
# ENVIRONMENT is STORE/NAME. The first line of INPUTS has variables of the installation as JSON, which may be secret, and
# the rest is the lock.
set -eu
umask 022
# Python takes modules from where it starts, which may be a directory that others can write to.
cd /
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
environment=$1 python=$2 account=$3
store=${environment%/*} name=${environment##*/}
draft=$store/.$name.draft log=$store/.$name.log
# All of it before anything can end this, or who sends it would fail for that instead.
IFS= read -r variables
lock=$(cat)

die() {
  echo "$1, so the running server is left alone, and the next run starts over:" >&2
  # an address may have a password in it
  tail -n 12 "$log" | sed -E 's#://[^/@[:space:]]*@#://****@#g' >&2
  exit 1
}

mkdir -p "$store"
# Who works in the store holds this lock, and so does each program that it started, even after it was killed itself.
(umask 077 && : >>"$store/.lock")
exec 9>>"$store/.lock"
flock --timeout 900 9 || { echo "another deployment has been running in $store for 15 minutes; wait until it has ended" >&2; exit 1; }
[ ! -e "$environment/installed-from" ] || exit 0 # another run was first

# So these are leftovers of runs that were killed. Which environments are needed is looked at anew after this.
rm -rf "$store"/.*.draft "$store"/.*.log "$store"/.tidy-*
trap 'rm -rf "$draft" "$log"' EXIT
trap 'exit 1' HUP INT TERM

# run PROGRAM [ARGUMENT...]: with the variables of the installation
run() {
  VARIABLES=$variables "$python" -I -S -c '
import json, os, sys
variables = json.loads(os.environ.pop("VARIABLES"))
os.execve(sys.argv[1], sys.argv[1:], {**os.environ, **{name: str(value) for name, value in variables.items()}})
' "$@" >"$log" 2>&1 </dev/null || die "$1 could not make a new environment"
}

# try PROGRAM [ARGUMENT...]: with the account's rights, or nobody's where there is no such account yet, without any
# variable of root's, and without any configuration, which may be broken
try() {
  set -- env -i "PATH=$PATH" LC_ALL=C.UTF-8 HOME=/nonexistent XDG_CONFIG_HOME=/nonexistent XDG_CONFIG_DIRS=/nonexistent "$@"
  uid=$(id -u -- "$account" 2>/dev/null) || uid=
  if [ "$(id -u)" != 0 ] || [ "$uid" = 0 ]; then "$@"
  elif [ -n "$uid" ]; then setpriv --reuid="$uid" --regid="$(id -g -- "$account")" --init-groups -- "$@"
  else setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"
  fi >"$log" 2>&1 9>&-
}

# To run the pip that venv would install from where Debian and CPython keep it takes half the time.
pip=$("$python" -I -S -c '
import ensurepip, glob, os, sysconfig
folders = [sysconfig.get_config_var("WHEEL_PKG_DIR") or "", os.path.dirname(ensurepip.__file__) + "/_bundled"]
print(next((wheel for folder in folders if folder for wheel in glob.glob(os.path.join(folder, "pip-*.whl"))), ""))
')
run "$python" -I -S -m venv ${pip:+--without-pip} --prompt devpi "$draft"
# uv then writes scripts that look for their interpreter beside themselves.
echo 'relocatable = true' >>"$draft/pyvenv.cfg"

# The lock names every dependency, so they are not looked for; what it lacks all the same comes out at the end. pip
# installs uv, and uv the rest in a fraction of the time; where a lock does not name uv, pip installs it all.
printf '%s\n' "$lock" >"$draft/devpi.lock"
awk '/^uv *==/ { on = 1 } on { print } on && !/\\$/ { on = 0 }' "$draft/devpi.lock" >"$draft/uv.lock"
# pip COMMAND [ARGUMENT...]: with the variables of the installation
pip() {
  PYTHONPATH="$pip" run "$draft/bin/python" -m pip --disable-pip-version-check --no-cache-dir "$@"
}
if [ -s "$draft/uv.lock" ]; then
  pip install --quiet --no-compile --no-deps --require-hashes --requirement "$draft/uv.lock"
  # A busy machine takes its time.
  export UV_COMPILE_BYTECODE_TIMEOUT=0
  run "$draft/bin/uv" pip install --quiet --no-config --no-cache --python "$draft/bin/python" --exact \
    --no-deps --require-hashes --compile-bytecode --requirement "$draft/devpi.lock"
  run "$draft/bin/uv" pip check --quiet --python "$draft/bin/python"
else
  pip install --quiet --no-deps --require-hashes --requirement "$draft/devpi.lock"
  pip check
fi
# uv leaves its lock behind for everybody to write.
rm -f "$draft/.lock"
# What names the draft is to name its place. pip writes scripts that name their interpreter.
for file in "$draft/pyvenv.cfg" $(grep -lI -- "$draft" "$draft"/bin/*); do
  sed -i "s|$draft|$environment|g" "$file"
done

try "$draft/bin/python" -I "$draft/bin/devpi-server" --version || die "the account $account cannot run devpi-server of the new environment"
echo "$python $(sha256sum <"$draft/devpi.lock" | cut -c1-64)" >"$draft/installed-from"
# By this name behind the link it is seen whether the link leads here.
: >"$draft/.$name"
# What lies there has no mark, so it did not work.
[ ! -e "$environment" ] || mv -T "$environment" "$store/.$name.broken.draft"
mv -T "$draft" "$environment"
rm -rf "$store/.$name.broken.draft"

#!/bin/sh
# Asks nginx whether it would accept a file as this host's site of devpi, beside all that it reads else.
#
# try-site.sh FILE
set -eu
umask 077
PATH=/usr/sbin:/usr/bin:/sbin:/bin

exec 9>>/run/wheelhouse.devpi.lock
flock --timeout 120 9
# Only root reads it, for it holds the word that nginx says to itself. What a run that was killed left is removed.
scratch=/run/wheelhouse.devpi.nginx
rm -rf "$scratch"
trap 'rm -rf "$scratch"' EXIT
cp -a /etc/nginx/. "$scratch"
chmod 700 "$scratch"
# nginx takes what is relative from beside the file that it is given.
sed -i "s#/etc/nginx/#$scratch/#g" "$scratch/nginx.conf"
cp "$1" "$scratch/conf.d/devpi.conf"
if ! said=$(nginx -q -t -c "$scratch/nginx.conf" 2>&1); then
  printf 'nginx rejects the new configuration and keeps running with the old one:\n%s\n' "$said" |
    sed "s#$scratch/conf.d/devpi.conf#/etc/nginx/conf.d/devpi.conf#g; s#$scratch/#/etc/nginx/#g" >&2
  exit 1
fi

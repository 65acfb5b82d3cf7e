#!/bin/sh
# Makes a random word that nginx says to itself, and a file of root's that sets $devpi_inner_word to it.
#
# inner-word.sh FILE
set -eu
umask 077
word=$(od -A n -t x1 -N 32 /dev/urandom | tr -d ' \n')
printf 'map "" $devpi_inner_word { default "%s"; }\n' "$word" >"$1.draft"
mv "$1.draft" "$1"

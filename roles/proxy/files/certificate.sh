#!/bin/sh
# Makes a certificate authority on this host, and the certificate of the names that it signs.
#
# certificate.sh [--check] DIRECTORY NAME...
#
#   --check    only says what would be made
#   DIRECTORY  of ca.pem, which everybody may read, of ca.key, and of server.pem, the certificate with its key
#   NAME       a host name or an address, as DNS:packages.example.com or IP:192.0.2.1
#
# The certificate is made anew where the names are others or 90 days before it runs out, and the authority before it could
# no longer sign one. Its key stays the same, so clients who know the old one know the new one's signatures too. Each file
# is made beside and renamed. Prints the path of each file that is, or would be, made.
set -eu
umask 077
PATH=/usr/sbin:/usr/bin:/sbin:/bin
unset OPENSSL_CONF OPENSSL_MODULES OPENSSL_ENGINES

check=
if [ "$1" = --check ]; then
  check=yes
  shift
fi
directory=$1
shift
day=86400
# Some clients take no certificate that is valid for longer than 825 days, whoever signed it.
days=820
renew=90

if ! [ -d "$directory" ] || { [ -n "$check" ] && ! [ -x /usr/bin/openssl ]; }; then
  printf '%s\n' "$directory/ca.pem" "$directory/server.pem"
  exit
fi
cd "$directory"

authority_holds() {
  [ -f ca.pem ] && [ -f ca.key ] && openssl x509 -in ca.pem -noout -checkend $(((days + renew) * day)) >/dev/null 2>&1
}

certificate_holds() {
  [ -f server.pem ] && openssl verify -CAfile ca.pem server.pem >/dev/null 2>&1 &&
    openssl x509 -in server.pem -noout -checkend $((renew * day)) >/dev/null 2>&1 &&
    [ "$(openssl x509 -in server.pem -noout -ext subjectAltName | grep -oE '(DNS|IP Address):' | wc -l)" = $# ] &&
    is_for "$@"
}

# As openssl compares them, for an address of IPv6 is written in many ways.
is_for() {
  for name; do
    case $name in
    IP:*) openssl x509 -in server.pem -noout -checkip "${name#IP:}" ;;
    *) openssl x509 -in server.pem -noout -checkhost "${name#DNS:}" ;;
    esac | grep -q 'does match' || return 1
  done
}

settings() {
  cat <<end
[req]
distinguished_name = subject
prompt = no
[subject]
CN = devpi on $(uname -n | cut -c 1-50)
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = $(printf '%s,' "$@" | sed 's/,$//')
end
}

new_key() {
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256
}

made=
authority_holds || made=ca.pem
[ -z "$made" ] && certificate_holds "$@" || made="$made server.pem"
for file in $made; do
  printf '%s\n' "$directory/$file"
done
for file in ca.pem:644 ca.key:600 server.pem:600; do
  if [ -f "${file%:*}" ] && [ "$(stat --format %a "${file%:*}")" != "${file#*:}" ]; then
    printf '%s\n' "$directory/${file%:*}"
    [ -n "$check" ] || chmod "${file#*:}" "${file%:*}"
  fi
done
if [ -n "$check" ] || [ -z "$made" ]; then
  exit
fi

draft=$(mktemp -d .draft.XXXXXXXX)
trap 'rm -rf "$draft"' EXIT
settings "$@" >"$draft/settings"
case $made in
ca.pem*)
  if ! [ -f ca.key ]; then
    # It is another authority's from now on, for a run that is killed here as well.
    rm -f ca.pem
    new_key >"$draft/ca.key"
    mv "$draft/ca.key" ca.key
  fi
  openssl req -x509 -new -key ca.key -days 7300 -sha256 -config "$draft/settings" -extensions authority >"$draft/ca.pem"
  chmod 644 "$draft/ca.pem"
  mv "$draft/ca.pem" ca.pem
  ;;
esac
new_key >"$draft/key"
openssl req -new -key "$draft/key" -config "$draft/settings" >"$draft/request"
openssl x509 -req -in "$draft/request" -CA ca.pem -CAkey ca.key -set_serial "0x$(openssl rand -hex 15)" -days $days \
  -sha256 -extfile "$draft/settings" -extensions server >"$draft/server.pem" 2>"$draft/said" || {
  cat "$draft/said" >&2
  exit 1
}
# In one file, so that nobody ever sees the one without the other.
cat "$draft/key" >>"$draft/server.pem"
mv "$draft/server.pem" server.pem

#!/bin/bash
# Make the certificates of a Dask cluster: who has them, and nobody else, can connect.
#
#   deploy/dask/certificates.sh <folder>
#
# ca.pem      what the scheduler, the workers and the clients check each other's certificate against
# node.pem    the certificate of all of them
# node.key    its private key
#
# They are valid for a year. The private key of the CA is never written, so nobody can sign more; to add a machine, copy the three
# files there, and to exclude one, make new ones for all others. Host names are not checked.
#
# Exit status: 0 success; 1 failure; 2 usage, or the folder has such files.
set -euo pipefail

DAYS=365

# fail <exit status> <message>
fail() {
    echo "certificates: error: $2" >&2
    exit "$1"
}

if [ $# != 1 ] || [[ $1 == -* ]]; then
    echo "usage: deploy/dask/certificates.sh <folder>" >&2
    exit 2
fi
folder=${1%/}
for name in ca.pem node.pem node.key; do
    if [ -e "$folder/$name" ]; then fail 2 "$folder/$name exists; choose another folder, or remove its certificates first"; fi
done
command -v openssl >/dev/null || fail 1 "openssl is missing; install the package openssl"
new=$folder/new.$$
mkdir -p "$new" || exit
trap 'rm -rf "$new"' EXIT

# the extensions that strict checks (Python 3.13) require
cat >"$new/openssl.cnf" <<'CONFIG'
[req]
distinguished_name = name
prompt = no
[name]
CN = centernet cluster
[ca]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[node]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
CONFIG

# run openssl with its messages kept for fail
ssl() { openssl "$@" 2>"$new/log" || fail 1 "openssl $1: $(tail -n 1 "$new/log")"; }
new_key() { ssl ecparam -name prime256v1 -genkey -noout; }
# a random positive number
new_serial() { echo "0x1$(openssl rand -hex 15)"; }

ca_key=$(new_key)
ca_key() { printf '%s\n' "$ca_key"; } # built in: its argument is in no list of processes
(umask 077 && new_key >"$new/node.key")
ssl req -x509 -new -sha256 -key <(ca_key) -config "$new/openssl.cnf" -extensions ca -days "$DAYS" -set_serial "$(new_serial)" \
    -subj "/CN=centernet cluster CA" -out "$new/ca.pem"
ssl req -new -sha256 -key "$new/node.key" -config "$new/openssl.cnf" -subj "/CN=centernet cluster node" -out "$new/node.csr"
ssl x509 -req -sha256 -in "$new/node.csr" -CA "$new/ca.pem" -CAkey <(ca_key) -set_serial "$(new_serial)" \
    -extfile "$new/openssl.cnf" -extensions node -days "$DAYS" -out "$new/node.pem"
ssl verify -CAfile "$new/ca.pem" "$new/node.pem" >/dev/null

expires=$(ssl x509 -noout -enddate -in "$new/node.pem")
mv "$new/ca.pem" "$new/node.pem" "$new/node.key" "$folder"
echo "certificates: $folder has ca.pem, node.pem and node.key, valid until ${expires#*=}"
echo "certificates: who has node.key can run anything on the workers: keep it as a password"

#!/bin/sh
# Makes what scheduler, workers and clients prove to each other that they belong together: certificates.sh FOLDER [DAYS]
# Writes ca.crt, tls.crt and tls.key. The authority's own key is not kept: nobody can sign another certificate.
set -eu
folder=${1:?a folder for the certificates}
days=${2:-365}
umask 077
mkdir "$folder"
cd "$folder"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days "$days" -subj /CN=frostmap-authority \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign -keyout ca.key -out ca.crt
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=frostmap -keyout tls.key -out tls.csr
printf 'basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n' > tls.ext
printf 'subjectAltName=DNS:frostmap-scheduler,DNS:localhost\n' >> tls.ext
openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days "$days" -extfile tls.ext -out tls.crt
rm -f ca.key ca.srl tls.csr tls.ext

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A key from a parameter file is made in the token where the token was asked for, or there is none;
# where it was not, a parameter file is read and used as without the provider.
. "$(dirname "$0")/lib.sh"

token

must "parameters of P-256" plain_openssl ecparam -name prime256v1 -out ec.par
must "the same in numbers" plain_openssl ecparam -name prime256v1 -param_enc explicit -out numbers.par
must "parameters of a curve that tokens do not have" plain_openssl ecparam -name brainpoolP256r1 -out other.par
must "parameters of SM2" plain_openssl ecparam -name SM2 -out sm2.par
must "parameters of DH" plain_openssl genpkey -genparam -algorithm DH -pkeyopt group:ffdhe2048 -out dh.par
must "parameters of X9.42 DH" plain_openssl genpkey -genparam -algorithm DHX -pkeyopt dh_rfc5114:3 -out dhx.par
must "parameters of DSA" plain_openssl genpkey -genparam -algorithm DSA -pkeyopt pbits:1024 -out dsa.par

# in_the_token LABEL COMMAND...: it writes key.pem, a reference.
in_the_token() {
    local label=$1
    shift
    rm -f key.pem
    must "$*" openssl "$@"
    must "  key.pem is a reference" plain_openssl asn1parse -in key.pem
    says "  with an object identifier of our own" 'OBJECT.*:2\.25\.' out
    must "  hsmkey lists the key" hsmkey list
    says "  under its label" "$label" out
}

# no_key PATTERN COMMAND...: an error, and nothing that holds a key.
no_key() {
    local pattern=$1
    shift
    rm -f key.pem
    must_fail "$*" "$pattern" openssl "$@"
    [ ! -s key.pem ] || ! grep -q PRIVATE key.pem || failed "$*: there is no key" "got: $(head -n 1 key.pem)"
}

# asked HOW: configure so, and set $query to what goes with it.
asked() {
    query=() provider_order='default hsm'
    case $1 in
    required) query=(-propquery provider=hsm) ;;
    preferred) query=(-propquery '?provider=hsm') ;;
    first) provider_order='hsm default' ;;
    esac
    configure
    if [ "$1" = default ]; then
        sed -i 's/^\[openssl_init\]/[openssl_init]\nalg_section = algorithms/' "$conf"
        printf '[algorithms]\ndefault_properties = ?provider=hsm\n' >>"$conf"
    fi
    step "the token is asked for: $1"
}

for how in required preferred first default; do
    asked $how
    in_the_token "$how" genpkey "${query[@]}" -paramfile ec.par -pkeyopt "hsm-label:$how" -out key.pem
    must "  it signs" openssl dgst -sha256 -sign key.pem -out sig data
    no_key 'needs a name' genpkey "${query[@]}" -paramfile numbers.par -out key.pem
    no_key 'not those of P-256' genpkey "${query[@]}" -paramfile other.par -pkeyopt hsm-label:no -out key.pem
    for type in sm2 dsa dh dhx; do
        no_key 'keys are not generated in the HSM' genpkey "${query[@]}" -paramfile $type.par -out key.pem
    done
    no_key 'needs a name' ecparam "${query[@]}" -genkey -noout -name prime256v1 -out key.pem
    # these read their file through OSSL_STORE, which has no loader with provider=hsm
    ec='needs a name' other='keys are not generated in the HSM'
    [ $how != required ] || ec=. other='No store loader|unsupported'
    no_key "$ec" ecparam "${query[@]}" -genkey -noout -in ec.par -out key.pem
    no_key "${other/No store loader/.}" ecparam "${query[@]}" -genkey -noout -in sm2.par -out key.pem
    no_key "$other" dsaparam "${query[@]}" -genkey -noout -in dsa.par -out key.pem
    no_key "$other" gendsa "${query[@]}" -out key.pem dsa.par
    for type in ec numbers sm2 dsa dh dhx; do
        must "pkeyparam still reads $type.par" openssl pkeyparam "${query[@]}" -in $type.par -out again
        same_files "  and writes it" again $type.par
    done
    must "dhparam still reads and checks dh.par" openssl dhparam "${query[@]}" -in dh.par -check -out again
    same_files "  and writes it" again dh.par
done

for how in first default; do
    asked $how
    in_the_token "r$how" req -new -newkey ec:ec.par -pkeyopt "hsm-label:r$how" -noenc -subj /CN=x -keyout key.pem -out csr
    must "  the request verifies" plain_openssl req -in csr -verify -noout
    in_the_token "p$how" req -new -newkey param:ec.par -pkeyopt "hsm-label:p$how" -noenc -subj /CN=x -keyout key.pem -out csr
    no_key 'keys are not generated in the HSM' req -new -newkey param:dsa.par -noenc -subj /CN=x -keyout key.pem -out csr
done

# req reads its file without its -propquery, and libcrypto asks the holder of the parameters alone:
# the one command that cannot be helped. A label, which a key in the token needs, ends it.
asked required
no_key . req -new "${query[@]}" -newkey ec:ec.par -pkeyopt hsm-label:no -noenc -subj /CN=x -keyout key.pem -out csr

step "nobody asks for the token"
provider_order='default hsm'
configure
software() {
    rm -f key.pem
    must "$*" openssl "$@"
    must "  key.pem is a software key" plain_openssl pkey -in key.pem -noout
}
for type in ec numbers other sm2 dsa dh dhx; do
    software genpkey -paramfile $type.par -out key.pem
    must "pkeyparam reads $type.par" openssl pkeyparam -in $type.par -text -noout
    cp out with
    must "  as without the provider" plain_openssl pkeyparam -in $type.par -text -noout
    same_files "  word by word" out with
done
software req -new -newkey ec:ec.par -noenc -subj /CN=x -keyout key.pem -out csr
software ecparam -genkey -noout -in ec.par -out key.pem
software dsaparam -genkey -noout -in dsa.par -out key.pem
software gendsa -out key.pem dsa.par
sed 's/^[A-Za-z0-9]/!/' ec.par >damaged.par
must_fail "a damaged file is an error" . openssl pkeyparam -in damaged.par
grep -v '^[0-9A-F]*:error:' out >with || true
sed -n 's/^[0-9A-F]*:\(error:[0-9A-F]*\):.*/\1/p' out >>with
must_fail "  as without the provider" . plain_openssl pkeyparam -in damaged.par
grep -v '^[0-9A-F]*:error:' out >without || true
sed -n 's/^[0-9A-F]*:\(error:[0-9A-F]*\):.*/\1/p' out >>without
same_files "  the same errors" with without

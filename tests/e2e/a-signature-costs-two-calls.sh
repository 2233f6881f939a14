#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# In steady state: C_SignInit and C_Sign, nothing else, at 1, 8 and 32 threads.
. "$(dirname "$0")/lib.sh"

token
key rsa rsa:2048
key ec ec:P-256
count_calls
all='C_[A-Za-z]*'
each=20
[ $HSM_TOKEN != nss ] || each=3 # NSS takes 50 ms for an RSA signature, in one thread or in many

# cost KEY THREADS COUNT: how many calls there were in all, in $total.
cost() {
    : >calls.log
    must "$2 threads, $3 signatures each, $1" client threads $1.pem $2 $3
    same "C_SignInit" "$(calls C_SignInit)" $(($2 * $3))
    same "C_Sign" "$(calls C_Sign)" $(($2 * $3))
    total=$(calls "$all")
    opened=$(calls C_OpenSession)
    searched=$(calls C_FindObjectsInit)
}
for name in rsa ec; do
    # One thread: whatever comes before the first signature comes once, so it cancels out.
    cost $name 1 10
    few=$total
    cost $name 1 40
    same "calls for 30 more signatures with $name" $((total - few)) 60
    searches=$searched
    for threads in 8 32; do
        cost $name $threads $each
        # Apart from the signatures: at most one session per thread, opened and closed once.
        rest=$((total - 2 * threads * each))
        [ $rest -le $((few - 20 + 2 * (threads - 1))) ] || failed "$threads threads cost two calls a signature" \
            "expected: at most $((few - 20 + 2 * (threads - 1))) other calls" "got: $rest"
        [ "$opened" -le $((threads + 2)) ] || failed "sessions are kept" \
            "expected: at most $((threads + 2)) opened" "got: $opened"
        same "searches with $threads threads" "$searched" "$searches"
    done
done

/* SPDX-License-Identifier: Apache-2.0
 *
 * policy.h - may this be done with the key, and can the token do it?
 */
#ifndef HSM_PROV_POLICY_H
#define HSM_PROV_POLICY_H

#include "key.h"

/* Purpose: refuse (raise, return 0) when the configuration is broken, does not offload `class`, or
 * when the token has no mechanism for it. `key` is named in the error, and may be NULL. Every
 * operation calls it at its init. The token is asked until it was found able to do the class. */
int prov_permits(const struct prov_ctx *ctx, enum prov_operation class, const struct prov_key *key);

/* Mechanisms that can perform an operation class; any one is enough. count 0: it needs none. This
 * is the one table for refusals, and for hsmkey policy. */
#define PROV_NEEDS_MAX 5
struct prov_need {
    enum ks_mech_kind kinds[PROV_NEEDS_MAX];
    unsigned count;
};
extern const struct prov_need prov_needs[PROV_CLASSES];

/* Purpose: which of the mechanisms of prov_needs[class] the token lists: bit n for kinds[n]. A kind
 * that hashes counts when the token has it with any digest. Raises nothing. */
ks_status prov_class_mechanisms(const struct prov_ctx *ctx, enum prov_operation class,
                                unsigned *listed, struct ks_error *err);

/* Purpose: the names of those mechanisms of a class that are in the set (`bits` as above), in
 * `out`. Returns `out`. */
const char *prov_class_mech_names(enum prov_operation class, unsigned bits, char *out, size_t size);

/* Ways to have a key made in which libcrypto does not ask us, although the HSM was asked for: the
 * key is a software key. For hsmkey policy; tests/unit/generation_table.h has all ways. */
struct prov_not_asked {
    const char *way;
    const char *why;
};
extern const struct prov_not_asked prov_not_asked[]; /* ends with a NULL way */

#endif

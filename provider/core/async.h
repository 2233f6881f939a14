/* SPDX-License-Identifier: Apache-2.0
 *
 * async.h - operations in an ASYNC_JOB.
 */
#ifndef HSM_PROV_ASYNC_H
#define HSM_PROV_ASYNC_H

#include "core.h"

/* What the keystore is told of them. */
extern const struct ks_pauser prov_async_pauser;

/* Purpose: between the two, which may be nested, an operation of this thread does not pause the
 * job that it is in: a lock is held that another job on this thread may want. */
void prov_async_hold(void);
void prov_async_release(void);

#endif

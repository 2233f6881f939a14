/* SPDX-License-Identifier: Apache-2.0
 *
 * lifecycle.h - what happens to the provider as a whole: it is loaded, configured, watched by
 * statistics, forked, torn down. For provider.c, and for programs that have the provider built in.
 */
#ifndef HSM_PROV_LIFECYCLE_H
#define HSM_PROV_LIFECYCLE_H

#include "core.h"

/* --- our library context (child_context.c) --------------------------------------------------- */

/* Purpose: a child of the application's library context, as OSSL_LIB_CTX_new_child() makes it, that
 * may be freed after its parent. `*link` goes with it. NULL without memory. */
OSSL_LIB_CTX *prov_child_new(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in,
                             struct prov_link **link);
/* Purpose: free it; both may be NULL. */
void prov_child_free(OSSL_LIB_CTX *child, struct prov_link *link);

/* Purpose: whether all functions of libcrypto that we use come from the same one; if not, `why`
 * says which do not. Calls nothing of libcrypto. */
bool prov_one_libcrypto(char *why, size_t room);

/* Purpose: give the keystore its hooks around calls into PKCS#11 modules, and its MAC. Once. */
void prov_hooks_install(void);

/* --- configuration (control.c) --------------------------------------------------------------- */

/* Purpose: fill ctx->config and ctx->token, or ctx->broken; and empty them again (core/control.c).
 * Returns 0, with nothing raised, only when memory is out. */
int prov_configure(struct prov_ctx *ctx);
void prov_unconfigure(struct prov_ctx *ctx);
void prov_supplied_free(struct prov_ctx *ctx);

/* Purpose: the engine's ways in, see core/control.h. */
int prov_configure_entry(void *provctx, const OSSL_PARAM params[]);
int prov_slot(struct prov_ctx *ctx, OSSL_PARAM *p);

/* --- statistics and log (stats.c) ------------------------------------------------------------ */

/* Purpose: turn on what ctx->config says of statistics and log, and off again (core/stats.c). Start
 * returns 0 with a sentence in `why`; raises nothing. Stop before the token is freed. */
int prov_stats_start(struct prov_ctx *ctx, char *why, size_t why_size);
extern bool prov_stats_no_file; /* hsmkey: statistics are about services */
/* The same for the process in which hsmkey check does what a program does: in its environment. */
#define PROV_ENV_TRIAL "HSMKEY_TRIAL"
void prov_stats_stop(struct prov_ctx *ctx);
/* Purpose: answer the provider parameter "hsm-stats": a pointer to a text that stays valid until
 * the same thread asks again or ends, or a copy, as the caller wants it. */
#define PROV_PARAM_STATS "hsm-stats"
int prov_stats_answer(struct prov_ctx *ctx, OSSL_PARAM *p);

/* --- forks and the end of the process -------------------------------------------------------- */

/* Purpose: initialise the provider's locks again in a forked child: a thread that held one exists
 * only in the parent. */
void prov_configure_forked(void);
void prov_children_forked(void);
/* Purpose: libcrypto is about to clean up: keep all instances of this provider, with their library
 * contexts, until the process is gone, since a program may free its keys at any time after that. */
void prov_children_keep(void);

#endif

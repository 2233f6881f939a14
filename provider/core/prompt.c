/* SPDX-License-Identifier: Apache-2.0
 *
 * prompt.c - lets the keystore ask for a PIN through the application's passphrase callback.
 */
#include "prompt.h"

static bool ask(void *arg, const char *what, char *pin, size_t size, size_t *len)
{
    struct prov_prompt *p = arg;
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PASSPHRASE_PARAM_INFO, (char *)what, 0),
        OSSL_PARAM_construct_end(),
    };

    *len = 0;
    return p->cb(pin, size, len, params, p->cbarg) > 0 && *len <= size;
}

void prov_prompt_init(struct prov_prompt *p, OSSL_PASSPHRASE_CALLBACK *cb, void *cbarg)
{
    p->cb = cb;
    p->cbarg = cbarg;
    p->ks.ask = ask;
    p->ks.arg = p;
    /* Without a callback there is nobody to ask, and the keystore says so. */
    p->opts.prompt = cb != NULL ? &p->ks : NULL;
    p->opts.deadline_ns = 0;
}

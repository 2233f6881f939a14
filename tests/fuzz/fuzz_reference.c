/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_reference.c - any bytes as a key reference. Whatever is taken must encode to the same
 * bytes again (the PKCS#8 form; the other forms are read only).
 */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "../../provider/key/key.h"
#include "../../provider/key/reference.h"
#include "fuzz.h"

static void check_encoding(struct prov_ctx *ctx, const struct prov_ref *ref,
                           const unsigned char *data, size_t size)
{
    struct prov_key key = {.ctx = ctx, .type = ref->type, .pub = ref->pub, .uri = ref->uri};
    unsigned char *der = NULL;
    size_t len = 0, i;

    key.has_private = true;
    if (prov_ref_to_der(&key, &der, &len) != 1)
        abort();
    /* the bare form is what the PKCS#8 form ends with */
    if (len < size)
        abort();
    for (i = 0; i < size; i++) {
        if (der[len - size + i] != data[i])
            abort();
    }
    OPENSSL_free(der);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct prov_ctx ctx;
    struct prov_ref *ref;
    bool is_ours = false;

    if (ctx.libctx == NULL)
        ctx.libctx = OSSL_LIB_CTX_new();
    ref = prov_ref_from_der(&ctx, data, size, &is_ours);
    if (is_ours != prov_ref_claims(data, size) || (ref != NULL && !is_ours))
        abort();
    if ((ERR_peek_error() != 0) != (is_ours && ref == NULL))
        abort();
    if (ref != NULL && ref->has_public)
        check_encoding(&ctx, ref, data, size);
    ERR_clear_error();
    prov_ref_free(ref);
    return 0;
}

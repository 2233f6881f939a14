/* SPDX-License-Identifier: Apache-2.0
 *
 * errors.c - raising errors through the core, and the texts of our reason codes.
 */
#include <openssl/err.h>
#include <stdarg.h>

#include "core.h"

static const OSSL_ITEM reasons[] = {
    {PROV_R_CONFIG, (void *)"the provider's configuration is broken"},
    {PROV_R_POLICY, (void *)"operation class not offloaded"},
    {PROV_R_UNSUPPORTED, (void *)"not supported"},
    {PROV_R_PARAMETER, (void *)"bad parameter"},
    {PROV_R_NO_LABEL, (void *)"key generation needs a label"},
    {PROV_R_REFERENCE, (void *)"bad key reference"},
    {PROV_R_NO_PRIVATE, (void *)"not a private key"},
    {PROV_R_PRIVATE_EXPORT, (void *)"the private part cannot leave or enter the HSM"},
    {PROV_R_ENCRYPTED, (void *)"a key reference holds no secret to encrypt"},
    {PROV_R_SOFTWARE, (void *)"public operation in software failed"},
    {PROV_R_VERIFY, (void *)"the token's result does not verify"},
    {PROV_R_DECRYPT, (void *)"decryption failed"},
    {PROV_R_SOFTWARE_KEY, (void *)"a software private key where only the HSM is to be used"},
#define KS_STATUS(name, text) {(unsigned int)PROV_R_TOKEN + (unsigned int)KS_##name, (void *)text},
#include "../../keystore/base/status.def"
#undef KS_STATUS
    {0, NULL},
};

const OSSL_ITEM *prov_reason_strings(void)
{
    return reasons;
}

__attribute__((format(printf, 4, 0))) static void raise_v(const struct prov_ctx *ctx,
                                                          struct prov_where where, uint32_t reason,
                                                          const char *fmt, va_list args)
{
    if (ctx == NULL || ctx->core_new_error == NULL || ctx->core_vset_error == NULL) {
        ERR_new();
        ERR_set_debug(where.file, where.line, where.func);
        ERR_vset_error(ERR_LIB_PROV, ERR_R_INTERNAL_ERROR, fmt, args);
        return;
    }
    ctx->core_new_error(ctx->core);
    if (ctx->core_set_error_debug != NULL)
        ctx->core_set_error_debug(ctx->core, where.file, where.line, where.func);
    ctx->core_vset_error(ctx->core, reason, fmt, args);
}

__attribute__((format(printf, 4, 5))) static void raise_code(const struct prov_ctx *ctx,
                                                             struct prov_where where,
                                                             uint32_t reason, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    raise_v(ctx, where, reason, fmt, args);
    va_end(args);
}

void prov_raise_at(const struct prov_ctx *ctx, struct prov_where where, enum prov_reason reason,
                   const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    raise_v(ctx, where, (uint32_t)reason, fmt, args);
    va_end(args);
}

void prov_raise_ks_at(const struct prov_ctx *ctx, struct prov_where where,
                      const struct ks_error *err)
{
    uint32_t reason = (uint32_t)PROV_R_TOKEN + (uint32_t)err->code;

    raise_code(ctx, where, reason, "%s",
               err->text[0] != '\0' ? err->text : ks_code_text(err->code));
}

int prov_usable(const struct prov_ctx *ctx)
{
    if (ctx->broken != NULL) {
        prov_raise(ctx, PROV_R_CONFIG, "%s", ctx->broken);
        return 0;
    }
    return 1;
}

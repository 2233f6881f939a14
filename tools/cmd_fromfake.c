/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_fromfake.c - from a vendor's fake PEM to the key on the token: what is real in it is the
 * modulus.
 */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "../engine/fakepem.h"
#include "cmd.h"

bool cmd_fake_read(struct cmd_env *env, const char *path, BIGNUM **modulus)
{
    char *name = NULL, *header = NULL, shown[512], why[200];
    BIO *bio = NULL;
    struct cmd_bytes bytes;
    enum eng_pem_kind kind = ENG_PEM_OTHER;
    unsigned char *der = NULL;
    long len = 0;

    ks_escape(shown, sizeof(shown), path, SIZE_MAX);
    if (!cmd_read_file(path, 0, &bytes, why, sizeof(why))) {
        cmd_error(env, "%s: %s", shown, why);
        return false;
    }
    bio = cmd_bytes_bio(&bytes);
    if (bio == NULL) {
        cmd_bytes_clear(&bytes);
        cmd_error(env, "out of memory");
        return false;
    }
    ERR_set_mark();
    while (kind == ENG_PEM_OTHER && PEM_read_bio(bio, &name, &header, &der, &len) == 1) {
        kind = eng_pem_kind(der, (size_t)len, modulus);
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_clear_free(der, (size_t)len);
        name = header = NULL;
        der = NULL;
    }
    ERR_pop_to_mark();
    BIO_free(bio);
    cmd_bytes_clear(&bytes);
    if (kind == ENG_PEM_SOFTWARE) {
        cmd_error(env,
                  "%s: is no fake, but a private key that works by itself: somebody may have used "
                  "it outside the HSM; it is not read any further",
                  shown);
    } else if (kind == ENG_PEM_OTHER) {
        cmd_error(env, "%s: holds no RSA private key in PEM, false or not", shown);
    }
    return kind == ENG_PEM_FAKE;
}

/* A search for the private key that has a modulus. */
struct search {
    uint8_t *modulus;
    size_t len;
    unsigned matches;
    bool failed;
    char first[CMD_URI_SIZE], second[CMD_URI_SIZE];
    const struct ks_token_facts *facts; /* NULL: the URI names no token */
    struct ks_error err;
};

static bool visit(void *arg, const struct ks_object *object)
{
    struct search *search = arg;
    char *uri = search->matches == 0 ? search->first : search->second;

    if (object->klass != KS_CLASS_PRIVATE || object->type != KS_KEY_RSA ||
        object->modulus.len != search->len ||
        memcmp(object->modulus.data, search->modulus, search->len) != 0) {
        return true;
    }
    if (!ks_ok(ks_object_uri(object, search->facts,
                             search->facts != NULL ? KS_URI_DETAIL_FULL : KS_URI_DETAIL_REFERENCE,
                             uri, CMD_URI_SIZE, &search->err))) {
        search->failed = true;
        return false;
    }
    return ++search->matches < 2;
}

/* Search every token. Of a cluster, search the first member that can be reached. */
static bool look(struct cmd_env *env, struct search *search)
{
    struct cmd_target targets[KS_GROUP_MAX];
    size_t count = cmd_targets(env, targets), i, j;
    struct ks_token_facts facts;
    bool named, ok = true;

    for (i = 0; ok && i < count && search->matches < 2; i++) {
        named = targets[i].name != NULL && !targets[i].cluster;
        for (j = 0, ok = false; !ok && j < targets[i].count; j++) {
            struct ks_token *token = targets[i].members[j];

            search->facts = named ? &facts : NULL;
            ok = (!named || ks_ok(ks_token_facts(token, &env->opts, &facts, &search->err))) &&
                 ks_ok(ks_token_objects(token, &env->opts, NULL, visit, search, &search->err));
        }
    }
    return ok && !search->failed;
}

bool cmd_fake_find(struct cmd_env *env, const char *path, const BIGNUM *modulus, char *uri,
                   size_t size)
{
    struct search search = {.len = (size_t)BN_num_bytes(modulus)};
    char shown[512], head[32];
    bool ok = false;

    ks_escape(shown, sizeof(shown), path, SIZE_MAX);
    search.modulus = malloc(search.len);
    if (search.modulus == NULL) {
        cmd_error(env, "out of memory");
        return false;
    }
    BN_bn2bin(modulus, search.modulus);
    if (!look(env, &search)) {
        cmd_error_ks(env, NULL, &search.err);
    } else if (search.matches == 0) {
        cmd_error(env,
                  "%s: no private key on the token has its modulus (%d bits, begins with %s); is "
                  "the key on another token?",
                  shown, BN_num_bits(modulus), cmd_hex(search.modulus, 8, head, sizeof(head)));
    } else if (search.matches > 1) {
        cmd_error(env,
                  "%s: two private keys on the token have its modulus: %s and %s; choose one: "
                  "hsmkey reference URI -o FILE",
                  shown, search.first, search.second);
    } else {
        snprintf(uri, size, "%s", search.first);
        ok = true;
    }
    free(search.modulus);
    return ok;
}

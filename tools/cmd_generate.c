/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_generate.c - hsmkey generate: a new key pair on the token, and its reference.
 */
#include <openssl/crypto.h>
#include <openssl/encoder.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../provider/key/reference.h"
#include "cmd.h"

struct request {
    const char *type, *label, *id, *path;
    bool force, extractable;
    const char *algorithm; /* "RSA", "EC", "ED25519" ... */
    int bits;
    const char *curve;
};

static bool parse_type(struct request *request)
{
    const char *type = request->type;
    char *end;
    long bits;
    unsigned i;

    if (strncmp(type, "rsa:", 4) == 0 && type[4] >= '1' && type[4] <= '9') {
        bits = strtol(type + 4, &end, 10);
        request->algorithm = "RSA";
        request->bits = (int)bits;
        return *end == '\0' && bits <= 65536;
    }
    if (strncmp(type, "ec:", 3) == 0) {
        request->algorithm = "EC";
        request->curve = type + 3;
        return request->curve[0] != '\0' && strlen(request->curve) < 64;
    }
    for (i = 0; i < PROV_KEY_TYPES; i++) {
        if (prov_types[i].raw != NULL && strcmp(type, prov_types[i].word) == 0) {
            request->algorithm = prov_types[i].name;
            return true;
        }
    }
    return false;
}

static bool is_hex(const char *text)
{
    size_t len = strlen(text);

    return len > 0 && len % 2 == 0 && strspn(text, "0123456789abcdefABCDEF") == len;
}

/* One generation, in the words that `openssl genpkey -pkeyopt` uses, too. */
static EVP_PKEY *generate(struct cmd_env *env, const struct request *request)
{
    EVP_PKEY_CTX *ctx =
        EVP_PKEY_CTX_new_from_name(env->libctx, request->algorithm, PROV_PROPERTIES);
    EVP_PKEY *pkey = NULL;

    if (ctx == NULL || EVP_PKEY_keygen_init(ctx) <= 0) {
        goto out;
    }
    if (request->bits > 0 && EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, request->bits) <= 0) {
        goto out;
    }
    if (request->curve != NULL && EVP_PKEY_CTX_set_group_name(ctx, request->curve) <= 0) {
        goto out;
    }
    if (EVP_PKEY_CTX_ctrl_str(ctx, "hsm-label", request->label) <= 0 ||
        (request->id != NULL && EVP_PKEY_CTX_ctrl_str(ctx, "hsm-id", request->id) <= 0) ||
        (request->extractable && EVP_PKEY_CTX_ctrl_str(ctx, "hsm-extractable", "yes") <= 0)) {
        goto out;
    }
    if (EVP_PKEY_generate(ctx, &pkey) <= 0) {
        pkey = NULL;
    }
out:
    EVP_PKEY_CTX_free(ctx);
    return pkey;
}

static unsigned char *encode(EVP_PKEY *pkey, size_t *len)
{
    OSSL_ENCODER_CTX *ctx = OSSL_ENCODER_CTX_new_for_pkey(pkey, EVP_PKEY_KEYPAIR, "DER",
                                                          "PrivateKeyInfo", PROV_PROPERTIES);
    unsigned char *der = NULL;

    if (ctx != NULL && OSSL_ENCODER_to_data(ctx, &der, len) != 1) {
        der = NULL;
    }
    OSSL_ENCODER_CTX_free(ctx);
    return der;
}

/* The URI by which messages call the new key: with its id if the reference could be made, and by
 * its label if not. */
static void new_uri(struct cmd_env *env, const struct request *request, const unsigned char *der,
                    size_t len, char *id, size_t id_size, char *uri, size_t uri_size)
{
    struct ks_object object = {.klass = KS_CLASS_PRIVATE};
    struct ks_token_facts facts;
    struct prov_ref *ref = NULL;
    bool ours = false;
    char *label = strdup(request->label);

    id[0] = uri[0] = '\0';
    if (label == NULL || !ks_ok(ks_token_facts(env->prov->token, &env->opts, &facts, NULL))) {
        goto out;
    }
    ref = der != NULL ? prov_ref_from_der(env->prov, der, len, &ours) : NULL;
    object.label = label;
    object.label_len = strlen(label);
    if (ref != NULL) {
        object.id.data = ref->id;
        object.id.len = ref->id_len;
        cmd_hex(ref->id, ref->id_len, id, id_size);
    }
    cmd_object_uri(&object, &facts, uri, uri_size);
out:
    prov_ref_free(ref);
    free(label);
}

static void report(struct cmd_env *env, const struct request *request, EVP_PKEY *pkey,
                   const char *uri, const char *id, BIO *pem)
{
    bool to_stdout = request->path != NULL && strcmp(request->path, "-") == 0;
    char type[96], shown[512], *data;
    FILE *out = to_stdout ? stderr : stdout;
    long len = BIO_get_mem_data(pem, &data);

    cmd_pkey_type(pkey, type, sizeof(type));
    if (env->json) {
        cmd_json_open(&env->doc, NULL, '{');
        cmd_json_string(&env->doc, "type", type);
        cmd_json_string(&env->doc, "label", request->label);
        cmd_json_string(&env->doc, "id", id);
        cmd_json_string(&env->doc, "uri", uri);
        cmd_json_bool(&env->doc, "extractable", request->extractable);
        if (to_stdout) {
            cmd_json_bytes(&env->doc, "reference", data, (size_t)len);
        } else {
            cmd_json_string(&env->doc, "file", request->path);
        }
        cmd_json_close(&env->doc, '{');
        return;
    }
    fprintf(out, "Generated %s on the token: %s\n", type, uri);
    if (request->path != NULL && !to_stdout) {
        ks_escape(shown, sizeof(shown), request->path, SIZE_MAX);
        fprintf(out, "Reference: %s\n", shown);
    }
}

/* Write the reference. The key exists already, so every error from here on says that, and how to
 * get the reference. */
static int finish(struct cmd_env *env, const struct request *request, struct cmd_file *file,
                  EVP_PKEY *pkey)
{
    bool to_stdout = request->path != NULL && strcmp(request->path, "-") == 0;
    char uri[CMD_URI_SIZE], id[520], why[1024] = "", path[512], *data;
    unsigned char *der = NULL;
    BIO *pem = NULL;
    size_t len = 0;
    bool ok = false;

    ERR_clear_error();
    der = encode(pkey, &len);
    if (der == NULL) {
        cmd_queue_text(why, sizeof(why));
    }
    new_uri(env, request, der, len, id, sizeof(id), uri, sizeof(uri));
    pem = der != NULL ? cmd_reference_pem(der, len) : NULL;
    if (pem != NULL) {
        len = (size_t)BIO_get_mem_data(pem, &data);
        ok = request->path == NULL || (env->json && to_stdout) ||
             cmd_file_commit(file, data, len, why, sizeof(why));
    }
    if (ok) {
        report(env, request, pkey, uri, id, pem);
    } else {
        ks_escape(path, sizeof(path), request->path != NULL ? request->path : "FILE", SIZE_MAX);
        cmd_error(env,
                  "the key was generated and is on the token, but its reference %s could not be "
                  "written: %s; do not generate it again, but run: hsmkey reference '%s' -o FILE",
                  path, why[0] != '\0' ? why : "out of memory", uri);
    }
    BIO_free(pem);
    OPENSSL_free(der);
    return ok ? CMD_OK : CMD_FAILED;
}

static int generate_key(struct cmd_env *env, const struct request *request)
{
    struct cmd_file file = CMD_FILE_NONE;
    EVP_PKEY *pkey = NULL;
    int status = CMD_FAILED;

    /* An explicit act of the administrator, so it does not need `keygen` in `offload`. The file
     * comes first: a key without a place for its reference is of no use. */
    if (!cmd_open(env, "all", NULL) ||
        (request->path != NULL && !cmd_file_begin(env, &file, request->path, request->force)) ||
        !cmd_connect(env)) {
        goto out;
    }
    ERR_clear_error();
    pkey = generate(env, request);
    if (pkey == NULL) {
        cmd_error_openssl(env, "no key was generated");
        goto out;
    }
    status = finish(env, request, &file, pkey);
out:
    cmd_file_end(&file);
    EVP_PKEY_free(pkey);
    return status;
}

static int generate_run(struct cmd_env *env, int argc, char **argv)
{
    static const struct option own[] = {{"type", required_argument, NULL, 't'},
                                        {"label", required_argument, NULL, 'l'},
                                        {"id", required_argument, NULL, 'i'},
                                        {"out", required_argument, NULL, 'o'},
                                        {"force", no_argument, NULL, 'f'},
                                        {"extractable", no_argument, NULL, 'x'},
                                        {0}};
    struct request request = {0};
    int opt, status;

    while ((opt = cmd_getopt(env, argc, argv, own, &status)) != CMD_END) {
        switch (opt) {
        case 't':
            request.type = optarg;
            break;
        case 'l':
            request.label = optarg;
            break;
        case 'i':
            request.id = optarg;
            break;
        case 'o':
            request.path = optarg;
            break;
        case 'f':
            request.force = true;
            break;
        case 'x':
            request.extractable = true;
            break;
        default:
            return status;
        }
    }
    if (optind != argc) {
        return cmd_usage(env, "takes options only");
    }
    if (request.type == NULL || request.label == NULL || request.label[0] == '\0') {
        return cmd_usage(env, "--type and --label are needed");
    }
    if (!parse_type(&request)) {
        return cmd_usage(
            env, "--type is rsa:BITS or ec:CURVE, as rsa:3072 or ec:P-256, ed25519 or ed448");
    }
    if (request.id != NULL && !is_hex(request.id)) {
        return cmd_usage(env, "--id is an even number of hexadecimal digits");
    }
    return generate_key(env, &request);
}

const struct cmd cmd_generate = {
    "generate",
    "--type TYPE --label LABEL [--id HEX] [-o FILE]",
    "Generate a key pair on the token",
    "  --type TYPE     rsa:2048, rsa:3072, rsa:4096, ec:P-256, ec:P-384, ec:P-521, ec:secp256k1,\n"
    "                  ed25519, ed448\n"
    "  --label LABEL   the key's name; one that exists already is refused\n"
    "  --id HEX        CKA_ID; 16 random bytes without this\n"
    "  -o, --out FILE  write the key reference, with mode 0600. \"-\" is standard output\n"
    "  --force         replace FILE if it exists\n"
    "  --extractable   let the key leave the token, wrapped; it cannot be undone\n"
    "\n"
    "Works whatever the configuration's `offload` says: asking for it here is explicit enough.\n",
    generate_run,
};

/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_reference.c - hsmkey reference: a file that stands for a private key in the token.
 */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#include "../provider/key/key.h"
#include "../provider/key/reference.h"
#include "cmd.h"

BIO *cmd_reference_pem(const unsigned char *der, size_t len)
{
    BIO *bio = BIO_new(BIO_s_mem());

    if (bio != NULL && PEM_write_bio(bio, PEM_STRING_PKCS8INF, "", der, (long)len) <= 0) {
        BIO_free(bio);
        bio = NULL;
    }
    return bio;
}

/* The one private key that `uri` names, and its reference as DER. */
static bool make_reference(struct cmd_env *env, const struct ks_uri *uri, unsigned char **der,
                           size_t *len, char *full, size_t full_size)
{
    struct ks_token_facts facts;
    struct ks_token *on;
    struct prov_key *key = NULL;
    struct ks_key *found = NULL;
    struct ks_error err;
    bool ok = false;

    if (!ks_ok(ks_key_find(env->prov->token, &env->opts, uri, &found, &err))) {
        cmd_error_ks(env, NULL, &err);
        goto out;
    }
    on = ks_key_token(found);
    if (!ks_ok(ks_token_facts(on, &env->opts, &facts, &err)) ||
        !ks_ok(ks_object_uri(ks_key_object(found), &facts,
                             ks_token_is_group(on, KS_GROUP_CLUSTER) ? KS_URI_DETAIL_REFERENCE
                                                                     : KS_URI_DETAIL_FULL,
                             full, full_size, &err))) {
        cmd_error_ks(env, NULL, &err);
        goto out;
    }
    ERR_clear_error();
    key = prov_key_from_ks(env->prov, found, NULL);
    if (key != NULL) {
        found = NULL; /* taken over */
    }
    if (key == NULL || prov_ref_to_der(key, der, len) != 1) {
        cmd_error_openssl(env, "cannot make the reference");
        goto out;
    }
    ok = true;
out:
    prov_key_free(key);
    ks_key_free(found);
    return ok;
}

static void report(struct cmd_env *env, const char *path, const char *uri, BIO *pem)
{
    bool to_stdout = strcmp(path, "-") == 0;
    char shown[512], *data;
    long len = BIO_get_mem_data(pem, &data);

    if (env->json) {
        cmd_json_open(&env->doc, NULL, '{');
        cmd_json_string(&env->doc, "uri", uri);
        if (to_stdout) {
            cmd_json_bytes(&env->doc, "reference", data, (size_t)len);
        } else {
            cmd_json_string(&env->doc, "file", path);
        }
        cmd_json_close(&env->doc, '{');
    } else if (!to_stdout) {
        ks_escape(shown, sizeof(shown), path, SIZE_MAX);
        printf("%s: reference to %s\n", shown, uri);
    }
}

/* What the reference is to be made from, and where it goes. */
struct task {
    const char *uri;  /* NULL: by the modulus of `fake` */
    const char *fake; /* a vendor's fake PEM */
    const char *path;
    bool force;
};

static bool parse_uri(struct cmd_env *env, const char *text, struct ks_uri **uri)
{
    if (!cmd_take_uri(env, text, uri)) {
        return false;
    }
    if (ks_uri_class(*uri) != KS_CLASS_ANY && ks_uri_class(*uri) != KS_CLASS_PRIVATE) {
        cmd_error(env, "the URI names a public key or a certificate (type=), but a reference "
                       "stands for a private key; write type=private");
        return false;
    }
    return true;
}

static int write_reference(struct cmd_env *env, const struct task *task)
{
    char full[CMD_URI_SIZE] = "", found[CMD_URI_SIZE], why[512], shown[512], *data;
    struct cmd_file file = CMD_FILE_NONE;
    struct ks_uri *uri = NULL;
    unsigned char *der = NULL;
    BIGNUM *modulus = NULL;
    BIO *pem = NULL;
    int status = CMD_FAILED;
    size_t len = 0;

    /* Everything that can be wrong with the arguments, before the token is asked. */
    if (!(task->uri != NULL ? parse_uri(env, task->uri, &uri)
                            : cmd_fake_read(env, task->fake, &modulus)) ||
        !cmd_open(env, NULL, NULL) || !cmd_file_begin(env, &file, task->path, task->force) ||
        !cmd_connect(env)) {
        goto out;
    }
    if (task->uri == NULL && (!cmd_fake_find(env, task->fake, modulus, found, sizeof(found)) ||
                              !parse_uri(env, found, &uri))) {
        goto out;
    }
    if (!make_reference(env, uri, &der, &len, full, sizeof(full))) {
        goto out;
    }
    pem = cmd_reference_pem(der, len);
    if (pem == NULL) {
        cmd_error(env, "out of memory");
        goto out;
    }
    len = (size_t)BIO_get_mem_data(pem, &data);
    if (!(env->json && strcmp(task->path, "-") == 0) &&
        !cmd_file_commit(&file, data, len, why, sizeof(why))) {
        ks_escape(shown, sizeof(shown), task->path, SIZE_MAX);
        cmd_error(env, "%s: cannot be written: %s", shown, why);
        goto out;
    }
    report(env, task->path, full, pem);
    status = CMD_OK;
out:
    cmd_file_end(&file);
    BIO_free(pem);
    OPENSSL_free(der);
    ks_uri_free(uri);
    BN_free(modulus);
    return status;
}

static int reference_run(struct cmd_env *env, int argc, char **argv)
{
    static const struct option own[] = {{"out", required_argument, NULL, 'o'},
                                        {"force", no_argument, NULL, 'f'},
                                        {"from-fake", required_argument, NULL, 'v'},
                                        {0}};
    struct task task = {0};
    int opt, status;

    while ((opt = cmd_getopt(env, argc, argv, own, &status)) != CMD_END) {
        switch (opt) {
        case CMD_STOP:
            return status;
        case 'o':
            task.path = optarg;
            break;
        case 'v':
            task.fake = optarg;
            break;
        default:
            task.force = true;
            break;
        }
    }
    if (argc - optind != (task.fake == NULL ? 1 : 0)) {
        return cmd_usage(env, "takes one URI, or --from-fake FILE; hsmkey list shows URIs");
    }
    if (task.path == NULL) {
        return cmd_usage(env, "-o FILE is missing (-o - is standard output)");
    }
    task.uri = task.fake == NULL ? argv[optind] : NULL;
    return write_reference(env, &task);
}

const struct cmd cmd_reference = {
    "reference",
    "URI|--from-fake OLD.pem -o FILE",
    "Write a key reference: the file that programs load instead of a private key",
    "  -o, --out FILE  where to; created with mode 0600. \"-\" is standard output\n"
    "  --force         replace FILE if it exists\n"
    "  --from-fake OLD.pem\n"
    "                  in place of URI: the key whose modulus is in OLD.pem, a vendor's PEM file\n"
    "                  with a real public half and false private numbers\n"
    "\n"
    "URI has to match exactly one private key; hsmkey list shows the URIs. A reference holds no\n"
    "secret: the key's URI and its public half.\n",
    reference_run,
};

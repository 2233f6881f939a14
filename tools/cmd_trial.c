/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_trial.c - does what a program does with a key file, and is that program in a process of its
 * own: there openssl.cnf is loaded by libcrypto itself, with all that it says.
 */
#include <dlfcn.h>
#include <errno.h>
#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/store.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../provider/key/types.h"
#include "../provider/provider.h"
#include "cmd_trial.h"

/* --- answers --------------------------------------------------------------------------------- */

static void failed(struct cmd_trial_answer *answer, const char *text)
{
    answer->ok = 0;
    snprintf((char *)answer->data, sizeof(answer->data), "%s", text);
    answer->len = (uint32_t)strlen((char *)answer->data) + 1;
}

static void failed_openssl(struct cmd_trial_answer *answer)
{
    char text[2048];

    cmd_queue_text(text, sizeof(text));
    failed(answer, text);
}

/* --- what a program finds -------------------------------------------------------------------- */

static uint32_t state(OSSL_LIB_CTX *libctx)
{
    uint32_t bits = 0;
    OSSL_STORE_LOADER *store;
    EVP_SIGNATURE *ours;
    EVP_KEYMGMT *rsa;
    OSSL_DECODER *pem;
    EVP_MD *md;

    ERR_set_mark();
    ours = EVP_SIGNATURE_fetch(libctx, PROV_OWN_RSA, NULL); /* a name that nobody else has */
    rsa = EVP_KEYMGMT_fetch(libctx, "RSA", PROV_NOT_US);
    pem = OSSL_DECODER_fetch(libctx, "DER", "input=pem");
    md = EVP_MD_fetch(libctx, "SHA256", NULL);
    store = OSSL_STORE_LOADER_fetch(libctx, "file", NULL);
    bits |= OSSL_PROVIDER_available(libctx, PROV_NAME) == 1 ? CMD_STATE_ACTIVE : 0U;
    bits |= ours != NULL ? CMD_STATE_VISIBLE : 0U;
    bits |= pem != NULL ? CMD_STATE_PEM : 0U;
    bits |= rsa != NULL ? CMD_STATE_SOFTWARE : 0U;
    bits |= md != NULL ? CMD_STATE_DIGEST : 0U;
    bits |= store != NULL ? CMD_STATE_STORE : 0U;
    EVP_SIGNATURE_free(ours);
    EVP_KEYMGMT_free(rsa);
    OSSL_DECODER_free(pem);
    EVP_MD_free(md);
    OSSL_STORE_LOADER_free(store);
    ERR_pop_to_mark();
    return bits;
}

/* Find out what is wrong with openssl.cnf. Programs are not told, because loading it by default
 * drops errors; loading it into a library context of its own does not. */
static void config_errors(struct cmd_trial_answer *answer)
{
    OSSL_LIB_CTX *fresh = OSSL_LIB_CTX_new();
    char *file = CONF_get1_default_config_file();

    if (fresh != NULL && file != NULL && OSSL_LIB_CTX_load_config(fresh, file) != 1) {
        failed_openssl(answer);
    }
    OSSL_LIB_CTX_free(fresh);
    OPENSSL_free(file);
    answer->ok = 1;
}

/* Open the provider's module as libcrypto does. libcrypto's own error would only say that it could
 * not be opened. */
static void load_module(struct cmd_trial *trial, const char *path, struct cmd_trial_answer *answer)
{
    char shown[1024], text[1200];

    trial->module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (trial->module == NULL) {
        ks_escape(shown, sizeof(shown), dlerror(), SIZE_MAX);
        snprintf(text, sizeof(text), "cannot be loaded: %s", shown);
        failed(answer, text);
    } else if (dlsym(trial->module, "OSSL_provider_init") == NULL) {
        failed(answer, "is not an OpenSSL provider");
    } else {
        answer->ok = 1;
    }
}

/* --- keys ------------------------------------------------------------------------------------ */

/* PEM functions have one callback for passphrases and for the provider's PIN, which is told
 * nothing. A key reference has no passphrase, so it is the PIN; a private key with one never comes
 * here. */
static int ask(char *buf, int size, int rwflag, void *arg)
{
    const struct cmd_trial_request *request = arg;
    size_t len = 0;

    (void)rwflag;
    return request->ask_for_pin && cmd_ask_pin(NULL, "PIN for token, once more (a program asks)",
                                               buf, (size_t)size, &len)
               ? (int)len
               : -1;
}

static void load(struct cmd_trial *trial, const struct cmd_trial_request *request,
                 struct cmd_trial_answer *answer)
{
    BIO *bio = BIO_new_mem_buf(request->data, (int)request->len);
    const OSSL_PROVIDER *provider;
    unsigned char *der = NULL;
    const char *name;
    int len;

    EVP_PKEY_free(trial->key);
    trial->key = bio != NULL ? PEM_read_bio_PrivateKey_ex(bio, NULL, ask, (void *)request,
                                                          trial->libctx, NULL)
                             : NULL;
    BIO_free(bio);
    if (trial->key == NULL) {
        failed_openssl(answer);
        return;
    }
    provider = EVP_PKEY_get0_provider(trial->key);
    name = provider != NULL ? OSSL_PROVIDER_get0_name(provider) : "no provider";
    answer->len = (uint32_t)strlen(name) + 1;
    len = i2d_PUBKEY(trial->key, &der);
    if (len <= 0) {
        failed_openssl(answer);
    } else if (answer->len + (size_t)len > sizeof(answer->data)) {
        failed(answer, "its public half is too long");
    } else {
        memcpy(answer->data, name, answer->len);
        memcpy(answer->data + answer->len, der, (size_t)len);
        answer->len += (uint32_t)len;
        answer->ok = 1;
    }
    OPENSSL_free(der);
}

/* --- operations ------------------------------------------------------------------------------ */

static void finish(struct cmd_trial_answer *answer, bool ok, size_t len)
{
    answer->ok = ok;
    answer->len = (uint32_t)len;
    if (!ok) {
        failed_openssl(answer);
    }
}

static void sign(struct cmd_trial *trial, const struct cmd_trial_request *request,
                 struct cmd_trial_answer *answer)
{
    const char *md = request->md[0] != '\0' ? request->md : NULL;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;
    size_t len = sizeof(answer->data);
    bool ok;

    ok = ctx != NULL &&
         EVP_DigestSignInit_ex(ctx, &pctx, md, trial->libctx, NULL, trial->key, NULL) == 1 &&
         (request->padding == 0 || EVP_PKEY_CTX_set_rsa_padding(pctx, request->padding) == 1) &&
         (request->padding != RSA_PKCS1_PSS_PADDING ||
          EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) == 1) &&
         EVP_DigestSign(ctx, answer->data, &len, request->data, request->len) == 1;
    finish(answer, ok, len);
    EVP_MD_CTX_free(ctx);
}

static void decrypt(struct cmd_trial *trial, const struct cmd_trial_request *request,
                    struct cmd_trial_answer *answer)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(trial->libctx, trial->key, NULL);
    size_t len = sizeof(answer->data);
    bool ok;

    ok = ctx != NULL && EVP_PKEY_decrypt_init(ctx) == 1 &&
         EVP_PKEY_CTX_set_rsa_padding(ctx, request->padding) == 1 &&
         (request->md[0] == '\0' ||
          EVP_PKEY_CTX_set_rsa_oaep_md_name(ctx, request->md, NULL) == 1) &&
         EVP_PKEY_decrypt(ctx, answer->data, &len, request->data, request->len) == 1;
    finish(answer, ok, len);
    EVP_PKEY_CTX_free(ctx);
}

static void derive(struct cmd_trial *trial, const struct cmd_trial_request *request,
                   struct cmd_trial_answer *answer)
{
    const unsigned char *p = request->data;
    EVP_PKEY *peer = d2i_PUBKEY_ex(NULL, &p, (long)request->len, trial->libctx, NULL);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(trial->libctx, trial->key, NULL);
    size_t len = sizeof(answer->data);
    bool ok;

    ok = peer != NULL && ctx != NULL && EVP_PKEY_derive_init(ctx) == 1 &&
         EVP_PKEY_derive_set_peer(ctx, peer) == 1 && EVP_PKEY_derive(ctx, answer->data, &len) == 1;
    finish(answer, ok, len);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(peer);
}

void cmd_trial_do(struct cmd_trial *trial, const struct cmd_trial_request *request,
                  struct cmd_trial_answer *answer)
{
    memset(answer, 0, sizeof(*answer));
    ERR_clear_error();
    if (trial->broken != NULL) {
        failed(answer, trial->broken);
        return;
    }
    if (request->op == CMD_TRIAL_MODULE) {
        load_module(trial, request->data, answer);
    } else if (request->op == CMD_TRIAL_STATE) {
        answer->ok = 1;
    } else if (request->op == CMD_TRIAL_LOAD) {
        load(trial, request, answer);
    } else if (trial->key == NULL) {
        failed(answer, "no key is loaded");
    } else if (request->op == CMD_TRIAL_SIGN) {
        sign(trial, request, answer);
    } else if (request->op == CMD_TRIAL_DECRYPT) {
        decrypt(trial, request, answer);
    } else {
        derive(trial, request, answer);
    }
    if (!answer->ok || request->op == CMD_TRIAL_STATE) {
        answer->state = state(trial->libctx);
    }
    if (request->op == CMD_TRIAL_STATE && (answer->state & CMD_STATE_ACTIVE) == 0) {
        config_errors(answer);
    }
    ERR_clear_error();
}

void cmd_trial_clear(struct cmd_trial *trial)
{
    EVP_PKEY_free(trial->key);
    trial->key = NULL;
    if (trial->module != NULL) {
        dlclose(trial->module);
    }
    trial->module = NULL;
}

/* --- the process ----------------------------------------------------------------------------- */

static bool take(int fd, void *out, size_t len)
{
    size_t got = 0;
    ssize_t n;

    while (got < len) {
        n = recv(fd, (char *)out + got, len - got, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        got += (size_t)n;
    }
    return true;
}

/* Carry out requests until the other end closes. */
static int serve(struct cmd_trial *trial)
{
    struct cmd_trial_request request;
    struct cmd_trial_answer answer;
    char *data;
    bool ok;

    while (take(CMD_TRIAL_FD, &request, sizeof(request))) {
        data = request.len <= CMD_READ_MAX ? OPENSSL_malloc(request.len + 1) : NULL;
        if (data == NULL || !take(CMD_TRIAL_FD, data, request.len)) {
            OPENSSL_free(data);
            return CMD_FAILED;
        }
        data[request.len] = '\0';
        request.data = data;
        cmd_trial_do(trial, &request, &answer);
        ok = send(CMD_TRIAL_FD, &answer, sizeof(answer), MSG_NOSIGNAL) == (ssize_t)sizeof(answer);
        OPENSSL_clear_free(data, request.len);
        OPENSSL_cleanse(&answer, sizeof(answer));
        if (!ok) {
            return CMD_FAILED;
        }
    }
    return CMD_OK;
}

int cmd_trial_main(void)
{
    struct cmd_trial trial = {0};
    char text[1024], broken[1200];
    struct stat st;
    int status;

    if (fstat(CMD_TRIAL_FD, &st) != 0 || !S_ISSOCK(st.st_mode)) {
        fprintf(stderr, "hsmkey: " CMD_TRIAL_VERB " is for hsmkey check itself\n");
        return CMD_USAGE;
    }
    /* The process ends with its parent, so that a module that hangs does not stay behind. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, NULL) != 1) {
        /* Errors of the file end a program only where the file says config_diagnostics = 1. */
        cmd_queue_text(text, sizeof(text));
        snprintf(broken, sizeof(broken), "OpenSSL does not start with this configuration: %s",
                 text);
        trial.broken = broken;
    }
    status = serve(&trial);
    cmd_trial_clear(&trial);
    return status;
}

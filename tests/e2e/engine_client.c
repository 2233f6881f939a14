/* SPDX-License-Identifier: Apache-2.0
 *
 * engine_client.c - a program that uses ENGINE "hsm" as programs do that know of engines only.
 *
 *   engine_client sign KEY          load, sign after the engine is gone, verify
 *   engine_client prompt KEY PIN    the same, the PIN typed by a UI_METHOD
 *   engine_client cert NAME         LOAD_CERT_CTRL; PEM to standard output
 *   engine_client ctrl KEY NAME VALUE
 *                                   load KEY, then give a command
 *   engine_client early KEY         like sign, but asks for the engine before openssl.cnf was read
 *   engine_client foreign HSM.SO    bind as a program with another libcrypto would; is refused
 *   engine_client bind              what is there once the engine is, and never initialised
 */
#include <dlfcn.h>
#include <openssl/engine.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <openssl/ui.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *typed;
static int prompts;

static int fail(const char *what)
{
    fprintf(stderr, "engine_client: %s\n", what);
    ERR_print_errors_fp(stderr);
    return 1;
}

/* --- a person -------------------------------------------------------------------------------- */

static int read_string(UI *ui, UI_STRING *uis)
{
    if (UI_get_string_type(uis) == UIT_PROMPT || UI_get_string_type(uis) == UIT_VERIFY) {
        prompts++;
        printf("asked: %s\n", UI_get0_output_string(uis));
        return UI_set_result(ui, uis, typed) == 0;
    }
    return 1;
}

static UI_METHOD *person(void)
{
    UI_METHOD *method = UI_create_method("test");

    if (method == NULL || UI_method_set_reader(method, read_string) != 0)
        exit(fail("UI_create_method"));
    return method;
}

/* --- what is asserted of the engine ---------------------------------------------------------- */

/* Methods would take keys to libcrypto's legacy path; and the default provider has to be there,
 * and first: it makes the short-lived keys of TLS. */
static int harmless(ENGINE *e)
{
    EVP_PKEY *key = NULL;
    int ok;

    if (ENGINE_get_RSA(e) != NULL || ENGINE_get_EC(e) != NULL || ENGINE_get_pkey_meths(e) != NULL ||
        ENGINE_get_RAND(e) != NULL)
        return !fail("the engine has methods");
    if (!OSSL_PROVIDER_available(NULL, "default"))
        return !fail("the default provider is gone");
    key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    ok =
        key != NULL && strcmp(OSSL_PROVIDER_get0_name(EVP_PKEY_get0_provider(key)), "default") == 0;
    EVP_PKEY_free(key);
    return ok || !fail("a short-lived key does not come from the default provider");
}

static int sign(EVP_PKEY *key, EVP_PKEY *pub)
{
    static const unsigned char message[] = "message";
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char signature[1024];
    size_t len = sizeof(signature);
    int ok;

    ok = EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
         EVP_DigestSign(ctx, signature, &len, message, sizeof(message)) == 1;
    EVP_MD_CTX_free(ctx);
    if (!ok)
        return fail("no signature");
    ctx = EVP_MD_CTX_new();
    ok = EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, pub) == 1 &&
         EVP_DigestVerify(ctx, signature, len, message, sizeof(message)) == 1;
    EVP_MD_CTX_free(ctx);
    if (!ok)
        return fail("the signature does not verify");
    printf("signed with a key of provider %s\n",
           OSSL_PROVIDER_get0_name(EVP_PKEY_get0_provider(key)));
    return 0;
}

/* Takes over both references to the engine. */
static int load_and_sign(ENGINE *e, const char *name)
{
    EVP_PKEY *key = ENGINE_load_private_key(e, name, NULL, NULL);
    EVP_PKEY *pub = key != NULL ? ENGINE_load_public_key(e, name, NULL, NULL) : NULL;
    int status;

    if (key == NULL || pub == NULL) {
        status = fail("no key");
    } else if (ERR_peek_error() != 0) {
        status = fail("errors are left although all went well");
    } else {
        status = !harmless(e);
        ENGINE_finish(e);
        ENGINE_free(e);
        e = NULL;
        if (status == 0)
            status = sign(key, pub);
    }
    EVP_PKEY_free(key);
    EVP_PKEY_free(pub);
    if (e != NULL) {
        ENGINE_finish(e);
        ENGINE_free(e);
    }
    return status;
}

static int certificate(ENGINE *e, const char *name)
{
    struct {
        const char *name;
        X509 *certificate;
    } load = {name, NULL};
    int status = 1;

    if (ENGINE_ctrl_cmd(e, "LOAD_CERT_CTRL", 0, &load, NULL, 0) != 1 || load.certificate == NULL)
        return fail("no certificate");
    /* not a copy with somebody's properties: it can be used */
    if (X509_get0_pubkey(load.certificate) != NULL &&
        X509_verify(load.certificate, X509_get0_pubkey(load.certificate)) >= 0)
        status = PEM_write_X509(stdout, load.certificate) != 1;
    X509_free(load.certificate);
    return status;
}

/* The engine cannot be used, and must say so where somebody sees it: its errors are not in our
 * queue. */
static int foreign(const char *path)
{
    static int state;
    dynamic_fns fns = {.static_state = &state};
    void *object = dlopen(path, RTLD_NOW), *symbol = NULL;
    int (*bind_engine)(ENGINE *, const char *, const dynamic_fns *) = NULL;
    ENGINE *e = ENGINE_new();
    int status;

    if (object != NULL)
        symbol = dlsym(object, "bind_engine");
    memcpy(&bind_engine, &symbol, sizeof(bind_engine));
    if (bind_engine == NULL || e == NULL)
        return fail("no bind_engine");
    status = bind_engine(e, "hsm", &fns) == 0 && ENGINE_get_id(e) == NULL ? 1 : 0;
    ENGINE_free(e);
    return status;
}

/* Stir something into the engine's random numbers, and draw some. */
static int stir(ENGINE *e)
{
    unsigned char out[32];

    /* as openssl(1) does: where openssl.cnf has the provider behind the engine, the engine comes to
     * know of the random numbers at a command */
    (void)ENGINE_ctrl_cmd(e, "SET_USER_INTERFACE", 0, UI_OpenSSL(), NULL, 0);
    if (RAND_set_rand_engine(e) != 1)
        return fail("no random numbers");
    RAND_seed("seed", 4);
    RAND_add("more", 4, 4.0);
    return RAND_status() == 1 && RAND_bytes(out, sizeof(out)) == 1 ? 0 : fail("no numbers");
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    ENGINE *e;
    EVP_PKEY *key;

    if (argc == 3 && strcmp(what, "foreign") == 0)
        return foreign(argv[2]);
    if (strcmp(what, "early") == 0)
        OPENSSL_init_crypto(OPENSSL_INIT_ENGINE_DYNAMIC, NULL);
    else
        OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG | OPENSSL_INIT_ENGINE_ALL_BUILTIN, NULL);
    e = ENGINE_by_id("hsm");
    if (e == NULL)
        return fail("no engine");
    if (strcmp(what, "bind") == 0) {
        printf("provider hsm %s\n", OSSL_PROVIDER_available(NULL, "hsm") ? "is there" : "is not");
        return !harmless(e);
    }
    if (ENGINE_init(e) != 1)
        return fail("the engine does not start");
    if (argc == 3 && (strcmp(what, "sign") == 0 || strcmp(what, "early") == 0))
        return load_and_sign(e, argv[2]);
    if (argc == 3 && strcmp(what, "cert") == 0)
        return certificate(e, argv[2]);
    if (argc == 4 && strcmp(what, "prompt") == 0) {
        typed = argv[3];
        if (ENGINE_ctrl_cmd(e, "SET_USER_INTERFACE", 0, person(), NULL, 0) != 1)
            return fail("SET_USER_INTERFACE");
        if (load_and_sign(e, argv[2]) != 0)
            return 1;
        printf("asked %d times\n", prompts);
        return 0;
    }
    if (argc == 5 && strcmp(what, "ctrl") == 0) {
        key = ENGINE_load_private_key(e, argv[2], NULL, NULL);
        if (key == NULL)
            return fail("no key");
        EVP_PKEY_free(key);
        if (ENGINE_ctrl_cmd_string(e, argv[3], argv[4][0] != '\0' ? argv[4] : NULL, 0) != 1)
            return fail("the command is refused");
        printf("command taken\n");
        return 0;
    }
    if (argc == 2 && strcmp(what, "stir") == 0)
        return stir(e);
    if (argc == 2 && strcmp(what, "nonsense") == 0) {
        if (ENGINE_ctrl_cmd(e, "LOAD_CERT_CTRL", 0, NULL, NULL, 0) == 1)
            return 0;
        return fail("the command is refused");
    }
    fprintf(stderr, "engine_client: usage\n");
    return 2;
}

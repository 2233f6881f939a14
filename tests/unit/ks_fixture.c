/* SPDX-License-Identifier: Apache-2.0
 *
 * ks_fixture.c - see ks_fixture.h.
 */
#include "ks_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct fx fx;

const uint8_t fx_digest[32] = "thirty-two bytes of something";
const struct ks_mech fx_pkcs1 = {.kind = KS_MECH_RSA_PKCS1};
const struct ks_mech fx_raw = {.kind = KS_MECH_RSA_RAW};
const struct ks_mech fx_ecdsa = {.kind = KS_MECH_ECDSA};

void fx_write(const char *path, const char *text, unsigned mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    ck_assert_int_eq(fchmod(fd, (mode_t)mode), 0);
    close(fd);
}

static void start(const struct fake_token *spec)
{
    static unsigned serial;
    struct fake_token t = spec != NULL ? *spec : (struct fake_token){.label = NULL};

    memset(&fx, 0, sizeof(fx));
    snprintf(fx.dir, sizeof(fx.dir), "/tmp/hsm-unit-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(fx.dir));
    snprintf(fx.pin_path, sizeof(fx.pin_path), "%s/pin", fx.dir);
    snprintf(fx.pin, sizeof(fx.pin), "file:%s", fx.pin_path);
    fx_write(fx.pin_path, "1234\n", 0600);
    snprintf(fx.label, sizeof(fx.label), "unit-%u", ++serial);
    if (t.label != NULL)
        snprintf(fx.label, sizeof(fx.label), "%s", t.label);
    t.label = fx.label;
    snprintf(fx.uri, sizeof(fx.uri), "pkcs11:token=%s", fx.label);
    ks_set_mac(fake_mac);
    fake_reset();
    fx.slot = fake_add_token(&t);
}

static void stop(void)
{
    struct dirent *entry;
    char path[512];
    DIR *dir;

    ck_assert_uint_eq(fake_open_searches(), 0);
    ck_assert_uint_eq(fake_open_operations(), 0);
    ks_token_free(fx.token);
    fx.token = NULL;
    dir = opendir(fx.dir);
    ck_assert_ptr_nonnull(dir);
    while ((entry = readdir(dir)) != NULL) {
        snprintf(path, sizeof(path), "%s/%s", fx.dir, entry->d_name);
        if (entry->d_name[0] != '.')
            unlink(path);
    }
    closedir(dir);
    rmdir(fx.dir);
}

void fx_setup(void)
{
    start(NULL);
}

void fx_teardown(void)
{
    stop();
}

void fx_restart(const struct fake_token *spec)
{
    stop();
    start(spec);
}

struct ks_token_config fx_config(void)
{
    return (struct ks_token_config){
        .name = "unit", .module = FAKE_PKCS11_PATH, .token = fx.uri, .pin = fx.pin};
}

struct ks_token *fx_token(void)
{
    struct ks_token_config config = fx_config();

    if (fx.token == NULL)
        fx_ok(ks_token_new(&config, &fx.token, &fx.err));
    return fx.token;
}

struct ks_uri *fx_uri(const char *text, enum ks_uri_use use)
{
    struct ks_uri *uri = NULL;

    fx_ok(ks_uri_parse(text, use, &uri, &fx.err));
    ck_assert_ptr_nonnull(uri);
    return uri;
}

ks_status fx_find(const char *label, struct ks_key **out)
{
    char text[256];
    struct ks_uri *uri;
    ks_status st;

    snprintf(text, sizeof(text), "pkcs11:object=%s", label);
    uri = fx_uri(text, KS_URI_CALLER);
    *out = NULL;
    st = ks_key_find(fx_token(), NULL, uri, out, &fx.err);
    ks_uri_free(uri);
    return st;
}

struct ks_key *fx_key(const char *label)
{
    struct ks_key *key;

    fx_ok(fx_find(label, &key));
    ck_assert_ptr_nonnull(key);
    return key;
}

struct ks_key *fx_new_key(enum fake_kind kind, const char *label)
{
    fake_add_pair(fx.slot, kind, label);
    return fx_key(label);
}

static const struct ks_mech *mech_for(const struct ks_key *key)
{
    return ks_key_object(key)->type == KS_KEY_RSA ? &fx_pkcs1 : &fx_ecdsa;
}

ks_status fx_sign(struct ks_key *key)
{
    uint8_t sig[FX_ROOM];
    size_t len = sizeof(sig);

    return ks_sign(key, NULL, mech_for(key), fx_digest, sizeof(fx_digest), sig, &len, &fx.err);
}

void fx_sign_well(struct ks_key *key, const char *label)
{
    const struct ks_mech *mech = mech_for(key);
    struct fake_mechanism made = {.type = mech == &fx_pkcs1 ? CKM_RSA_PKCS : CKM_ECDSA};
    uint8_t sig[FX_ROOM];
    size_t len = sizeof(sig);

    fx_ok(ks_sign(key, NULL, mech, fx_digest, sizeof(fx_digest), sig, &len, &fx.err));
    ck_assert(fake_verify(fake_find(fx.slot, CKO_PRIVATE_KEY, label), &made, fx_digest,
                          sizeof(fx_digest), sig, len));
}

static struct {
    pthread_t thread;
    unsigned calls;
    bool met;
} meeting;

static void *release_when_met(void *arg)
{
    (void)arg;
    meeting.met = fake_wait_hanging(meeting.calls, 50000);
    fake_release();
    return NULL;
}

void fx_meet(const char *function, unsigned calls)
{
    meeting.calls = calls;
    meeting.met = false;
    for (unsigned i = 0; i < calls; i++)
        fake_hang(function, 1);
    ck_assert_int_eq(pthread_create(&meeting.thread, NULL, release_when_met, NULL), 0);
}

void fx_met(void)
{
    pthread_join(meeting.thread, NULL);
    ck_assert_msg(meeting.met, "%u calls were never under way at once", meeting.calls);
}

unsigned fx_rounds(unsigned full)
{
    const char *preload = getenv("LD_PRELOAD");

    return preload != NULL && strstr(preload, "vgpreload") != NULL ? full / 50 : full;
}

int fx_main(const char *name, const struct fx_test *tests, size_t count)
{
    Suite *suite = suite_create(name);
    TCase *tc = tcase_create(name);
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, fx_setup, fx_teardown);
    tcase_set_timeout(tc, 60);
    for (size_t i = 0; i < count; i++) {
        if (tests[i].rows != 0)
            tcase_add_loop_test(tc, tests[i].test, 0, tests[i].rows);
        else
            tcase_add_test(tc, tests[i].test);
    }
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    if (srunner_ntests_run(runner) == 0)
        failed = 1;
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* --- children -------------------------------------------------------------------------------- */

bool fx_signs(struct ks_key *key, const char *label)
{
    struct fake_mechanism made = {.type = CKM_ECDSA};
    uint8_t sig[64];
    size_t len = sizeof(sig);

    return ks_ok(ks_sign(key, NULL, &fx_ecdsa, fx_digest, sizeof(fx_digest), sig, &len, &fx.err)) &&
           fake_verify(fake_find(fx.slot, CKO_PRIVATE_KEY, label), &made, fx_digest,
                       sizeof(fx_digest), sig, len);
}

void fx_in_child(void (*body)(void *arg), void *arg)
{
    pid_t pid;
    int status = 0;

    fflush(NULL);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        signal(SIGALRM, SIG_DFL);
        alarm(20);
        body(arg);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with 0x%x",
                  (unsigned)status);
}

void fx_need(bool what, const char *text)
{
    if (what)
        return;
    fprintf(stderr, "child: %s; %s; %s\n", text, fx.err.text, fake_log());
    _exit(1);
}

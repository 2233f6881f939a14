/* SPDX-License-Identifier: Apache-2.0
 *
 * observe/log.c: which events become lines, and what is in them.
 */
#include "ks_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

extern const char *ks_log_socket; /* observe/log.c */

static char path[128], where[160];
static char text[262144];

static void log_to_file(enum ks_log_level level, bool audit)
{
    struct ks_log_config config = {.target = where, .level = level, .audit = audit};

    snprintf(path, sizeof(path), "%s/log", fx.dir);
    snprintf(where, sizeof(where), "file:%s", path);
    fx_ok(ks_log_open(&config, &fx.err));
}

static const char *lines(void)
{
    FILE *f = fopen(path, "r");
    size_t n = 0;

    if (f != NULL) {
        n = fread(text, 1, sizeof(text) - 1, f);
        fclose(f);
    }
    text[n] = '\0';
    return text;
}

static void log_done(void)
{
    ks_log_close();
    unlink(path);
}

static unsigned count(const char *part)
{
    unsigned n = 0;

    for (const char *at = lines(); (at = strstr(at, part)) != NULL; at++)
        n++;
    return n;
}

#define says(part)     ck_assert_msg(count(part) > 0, "no \"%s\" in:\n%s", (part), lines())
#define says_not(part) ck_assert_msg(count(part) == 0, "there is a \"%s\" in:\n%s", (part), lines())

static void named_token(unsigned timeout_ms)
{
    struct ks_token_config config = fx_config();

    config.name = "east";
    config.timeout_ms = timeout_ms;
    fx_ok(ks_token_new(&config, &fx.token, &fx.err));
}

START_TEST(nothing_without_a_log)
{
    struct ks_key *key;

    snprintf(path, sizeof(path), "%s/log", fx.dir);
    named_token(0);
    key = fx_new_key(FAKE_RSA, "k");
    fx_sign_well(key, "k");
    ck_assert_int_ne(access(path, F_OK), 0);
    ks_key_free(key);
}
END_TEST

START_TEST(one_line_an_event_in_logfmt)
{
    char head[96];
    struct ks_key *key;

    log_to_file(KS_LOG_INFO, false);
    named_token(0);
    key = fx_new_key(FAKE_RSA, "k");
    for (int i = 0; i < 5; i++)
        fx_sign_well(key, "k");
    snprintf(head, sizeof(head), "Z pid=%ld level=info event=login token=east\n", (long)getpid());
    says(head);
    ck_assert_int_eq(strncmp(lines(), "ts=20", 5), 0);
    says("level=info event=token-up token=east label=unit-");
    says("recovered=no");
    ck_assert_uint_eq(count("\n"), 2); /* signatures are not events */
    says_not("1234");
    ks_key_free(key);
    log_done();
}
END_TEST

START_TEST(down_and_up_again)
{
    struct ks_key *key;

    log_to_file(KS_LOG_WARN, false);
    named_token(0);
    key = fx_new_key(FAKE_RSA, "k");
    ck_assert_uint_eq(count("\n"), 0);
    fake_lose_connection();
    fx_sign_well(key, "k");
    says("level=warn event=token-down token=east function=C_SignInit code=CKR_DEVICE_ERROR\n");
    says("event=recovery module=");
    says("result=done\n");
    says("level=warn event=token-up token=east");
    says("recovered=yes\n");
    ck_assert_uint_eq(count("event=token-down"), 1);
    ck_assert_uint_eq(count("event=token-up"), 1);
    ks_key_free(key);
    log_done();
}
END_TEST

START_TEST(refused_logins_without_the_pin)
{
    log_to_file(KS_LOG_ERROR, false);
    fx_write(fx.pin_path, "s3cr3t-pin\n", 0600);
    named_token(0);
    fx_fails(ks_token_connect(fx.token, NULL, &fx.err), KS_PIN_REFUSED);
    says("level=error event=login-failed token=east function=C_Login code=CKR_PIN_INCORRECT\n");
    says_not("s3cr3t");
    log_done();
}
END_TEST

START_TEST(refused_operations)
{
    struct ks_key *key;

    log_to_file(KS_LOG_WARN, false);
    named_token(0);
    fake_add_key(fx.slot, &(struct fake_key){
                              .kind = FAKE_RSA, .label = "k", .id = "k", .flags = FAKE_NO_SIGN});
    key = fx_key("k");
    fx_fails(fx_sign(key), KS_KEY_USE);
    says("event=refused token=east class=sign key=\"pkcs11:id=%6B;object=k;type=private\" "
         "reason=CKA_SIGN\n");
    ks_key_free(key);
    log_done();
}
END_TEST

START_TEST(what_programs_may_not_show)
{
    struct ks_key *key;

    log_to_file(KS_LOG_WARN, false);
    named_token(0);
    key = fx_new_key(FAKE_RSA, "k");
    fake_inject("C_Sign", 1, FAKE_FOREVER, CKR_HOST_MEMORY, false);
    fx_fails(fx_sign(key), KS_NO_MEMORY);
    says("level=warn event=operation-failed token=east class=sign "
         "key=\"pkcs11:id=%6B;object=k;type=private\" function=C_Sign code=CKR_HOST_MEMORY "
         "text=\"token 'unit-");
    /* another way is taken then */
    fake_heal(NULL);
    fake_inject("C_SignInit", 1, 1, CKR_MECHANISM_PARAM_INVALID, false);
    fx_fails(fx_sign(key), KS_MECHANISM);
    ck_assert_uint_eq(count("event=operation-failed"), 1);
    ks_key_free(key);
    log_done();
}
END_TEST

/* A server's worker may lack what its parent has: so the message says who it is. */
START_TEST(a_token_that_cannot_be_reached)
{
    pid_t pid;
    int status;

    log_to_file(KS_LOG_ERROR, false);
    named_token(0);
    fake_set_present(fx.slot, false);
    fx_fails(ks_token_connect(fx.token, NULL, &fx.err), KS_DEVICE);
    says("level=error event=connect-failed token=east text=\"");
    says_not("is a child of");
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        bool failed = !ks_ok(ks_token_connect(fx.token, NULL, &fx.err));

        _exit(failed && strstr(fx.err.text, "is a child of the one that loaded") != NULL ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    says("is a child of the one that loaded the provider as user ");
    log_done();
}
END_TEST

START_TEST(a_token_that_hangs)
{
    struct ks_key *key;

    log_to_file(KS_LOG_WARN, false);
    named_token(1000);
    key = fx_new_key(FAKE_RSA, "k");
    fake_hang("C_Sign", 1);
    fx_fails(fx_sign(key), KS_TIMEOUT);
    says("level=error event=token-hung token=east\n");
    fake_release();
    for (int i = 0; i < 500 && fake_open_operations() > 0; i++)
        usleep(10000);
    ks_key_free(key);
    log_done();
}
END_TEST

/* Names of keys come from strangers. */
START_TEST(one_line_whatever_the_label)
{
    struct ks_key *key;
    struct ks_uri *uri;

    log_to_file(KS_LOG_OFF, true);
    named_token(0);
    fake_add_key(fx.slot, &(struct fake_key){
                              .kind = FAKE_RSA, .label = "a\nlevel=error event=\"x\"", .id = "k"});
    uri = fx_uri("pkcs11:id=k", KS_URI_CALLER);
    fx_ok(ks_key_find(fx.token, NULL, uri, &key, &fx.err));
    ks_uri_free(uri);
    fx_ok(fx_sign(key));
    ck_assert_uint_eq(count("\n"), 1);
    says("level=audit event=operation token=east class=sign key=\"pkcs11:id=%6B;object=a%0A");
    says("outcome=done\n");
    says_not("event=\"x");
    ks_key_free(key);
    log_done();
}
END_TEST

START_TEST(audit_of_every_private_operation)
{
    uint8_t in[256] = {1}, out[FX_ROOM];
    struct ks_generate_spec spec = {
        .type = KS_KEY_RSA, .rsa_bits = 2048, .label = "new", .id = in, .id_len = 2, .sign = true};
    struct ks_key *key, *made;
    size_t len = sizeof(out);

    log_to_file(KS_LOG_OFF, true);
    named_token(0);
    key = fx_new_key(FAKE_RSA, "k");
    for (int i = 0; i < 100; i++)
        fx_ok(fx_sign(key)); /* more than events in a second: none is left out */
    fake_fail("C_SignInit", CKR_MECHANISM_INVALID);
    fx_fails(fx_sign(key), KS_MECHANISM);
    fake_fail("C_Decrypt", CKR_ENCRYPTED_DATA_INVALID);
    fx_fails(ks_decrypt(key, NULL, &fx_raw, in, sizeof(in), out, &len, &fx.err), KS_DATA);
    fake_set_cheap(true);
    fx_ok(ks_generate(fx.token, NULL, &spec, &made, &fx.err));
    fx_ok(ks_random(fx.token, NULL, out, 16, &fx.err));
    ck_assert_uint_eq(
        count("class=sign key=\"pkcs11:id=%6B;object=k;type=private\" outcome=done\n"), 100);
    says("class=sign key=\"pkcs11:id=%6B;object=k;type=private\" outcome=failed "
         "code=CKR_MECHANISM_INVALID\n");
    says("class=decrypt key=\"pkcs11:id=%6B;object=k;type=private\" outcome=done\n");
    says("class=generate key=\"pkcs11:id=%01%00;object=new;type=private\" outcome=done\n");
    ck_assert_uint_eq(count("\n"), 103);
    says_not("level=info");
    ks_key_free(made);
    ks_key_free(key);
    log_done();
}
END_TEST

/* A cluster: one line an operation, however many members were asked. */
START_TEST(audit_of_operations_that_move_on)
{
    struct ks_token_config config = fx_config();
    struct ks_token *members[2] = {NULL}, *web = NULL;
    struct ks_key *key = NULL;
    struct ks_uri *uri = fx_uri("pkcs11:object=k", KS_URI_CALLER);
    unsigned long slots[2];

    log_to_file(KS_LOG_OFF, true);
    for (unsigned i = 0; i < 2; i++) {
        char label[16], its_uri[64];

        snprintf(label, sizeof(label), "member-%u", i);
        snprintf(its_uri, sizeof(its_uri), "pkcs11:token=%s", label);
        slots[i] = fake_add_token(&(struct fake_token){.label = label});
        fake_add_key(slots[i],
                     &(struct fake_key){.kind = FAKE_RSA, .label = "k", .id = "k", .material = 1});
        config.name = i == 0 ? "east" : "west";
        config.token = its_uri;
        config.recover_ms = 10;
        fx_ok(ks_token_new(&config, &members[i], &fx.err));
    }
    fx_ok(ks_token_group("web", KS_GROUP_CLUSTER, members, 2, &web, &fx.err));
    fx_ok(ks_key_find(web, NULL, uri, &key, &fx.err));
    ks_uri_free(uri);
    ck_assert_uint_eq(count("\n"), 0);
    for (int i = 0; i < 10; i++)
        fx_ok(fx_sign(key));
    ck_assert_uint_eq(count("outcome=done\n"), 10);
    /* the first try fails, the second does it */
    fake_inject("C_Sign", 1, 2, CKR_GENERAL_ERROR, false);
    fx_ok(fx_sign(key));
    ck_assert_uint_eq(count("outcome=done\n"), 11);
    ck_assert_uint_eq(count("\n"), 11);
    says_not("token=web");
    /* none does, and then none is left to be asked */
    fake_set_present(slots[0], false);
    fake_set_present(slots[1], false);
    ck_assert(!ks_ok(fx_sign(key)));
    ck_assert_uint_eq(count("\n"), 12);
    ck_assert_uint_eq(count("class=sign key=\"pkcs11:id=%6B;object=k;type=private\" outcome="), 12);
    ck_assert_uint_eq(count("outcome=failed code="), 1);
    ks_key_free(key);
    ks_token_free(web);
    ks_token_free(members[0]);
    ks_token_free(members[1]);
    log_done();
}
END_TEST

START_TEST(a_flood_is_cut_and_counted)
{
    struct ks_key *key;
    unsigned n;

    log_to_file(KS_LOG_WARN, false);
    named_token(0);
    fake_add_key(fx.slot, &(struct fake_key){
                              .kind = FAKE_RSA, .label = "k", .id = "k", .flags = FAKE_NO_SIGN});
    key = fx_key("k");
    for (int i = 0; i < 1000; i++)
        fx_fails(fx_sign(key), KS_KEY_USE);
    n = count("event=refused");
    ck_assert_msg(n >= 50 && n < 1000, "%u lines", n);
    sleep(1);
    fx_fails(fx_sign(key), KS_KEY_USE);
    says("suppressed=");
    ks_key_free(key);
    log_done();
}
END_TEST

/* Lines of many processes do not mix, a file that was moved away is made again. */
START_TEST(forks_and_rotation)
{
    char old[160];
    struct ks_key *key;
    pid_t pids[4];
    int status;

    log_to_file(KS_LOG_OFF, true);
    named_token(0);
    key = fx_new_key(FAKE_RSA, "k");
    fake_set_cheap(true);
    for (int i = 0; i < 4; i++) {
        pids[i] = fork();
        ck_assert_int_ge(pids[i], 0);
        if (pids[i] == 0) {
            bool ok = true;

            for (int n = 0; n < 50; n++)
                ok = ks_ok(fx_sign(key)) && ok;
            ks_key_free(key);
            _exit(ok ? 0 : 1);
        }
    }
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    ck_assert_uint_eq(count("\n"), 200);
    ck_assert_uint_eq(count("ts="), 200);
    ck_assert_uint_eq(count("outcome=done\n"), 200);
    snprintf(old, sizeof(old), "%s.1", path);
    ck_assert_int_eq(rename(path, old), 0);
    fx_ok(fx_sign(key));
    ck_assert_uint_eq(count("\n"), 1);
    unlink(old);
    ks_key_free(key);
    log_done();
}
END_TEST

/* To stderr when nobody reads: the program lives. */
START_TEST(a_reader_that_went_away)
{
    struct ks_log_config config = {.target = "stderr", .level = KS_LOG_INFO};
    int saved = dup(STDERR_FILENO), ends[2];
    char *stats = NULL;
    struct ks_key *key;

    ck_assert_int_eq(pipe(ends), 0);
    fx_ok(ks_log_open(&config, &fx.err));
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    named_token(0);
    key = fx_new_key(FAKE_RSA, "k");
    dup2(saved, STDERR_FILENO);
    close(saved);
    fx_sign_well(key, "k");
    ks_log_close();
    fx_ok(ks_stats_text(&stats, &fx.err));
    ck_assert_ptr_nonnull(strstr(stats, "hsm_log_lines_lost_total{} "));
    ck_assert_ptr_null(strstr(stats, "hsm_log_lines_lost_total{} 0\n"));
    free(stats);
    ks_key_free(key);
}
END_TEST

/* --- files in folders that others may write to ----------------------------------------------- */

/* The file that this process makes for itself beside a log that it must not write to. */
static const char *own_log(void)
{
    static char own[120];

    snprintf(own, sizeof(own), "%s/log.%lu", fx.dir, (unsigned long)geteuid());
    return own;
}

static off_t size_of(const char *file)
{
    struct stat st;

    return lstat(file, &st) == 0 ? st.st_size : -1;
}

static void make_link(const char *to)
{
    ck_assert_int_eq(symlink(to, path), 0);
}

static void make_hard_link(const char *to)
{
    ck_assert_int_eq(link(to, path), 0);
}

static void make_others_file(const char *to)
{
    (void)to;
    fx_write(path, "", 0666);
    if (geteuid() == 0)
        ck_assert_int_eq(chown(path, 65534, (gid_t)-1), 0);
    else
        ck_assert_int_eq(chmod(path, 0400), 0); /* cannot be given away */
}

static const struct {
    void (*make)(const char *to);
    bool there; /* what it leads to */
    const char *reason;
} traps[] = {
    {make_link, true, "reason=\"is a symbolic link\""},
    {make_link, false, "reason=\"is a symbolic link\""}, /* that would be made */
    {make_hard_link, true, "hard link"},
    {make_others_file, true, "reason="},
};

START_TEST(what_others_have_put_there_is_not_written_to)
{
    char aim[160];
    struct ks_key *key;

    log_to_file(KS_LOG_INFO, true);
    snprintf(aim, sizeof(aim), "%s/aim", fx.dir);
    if (traps[_i].there)
        fx_write(aim, "text", 0600);
    traps[_i].make(aim);
    named_token(0);
    key = fx_new_key(FAKE_RSA, "k");
    fx_sign_well(key, "k");
    ck_assert_int_eq(size_of(aim), traps[_i].there ? 4 : -1);
    if (traps[_i].make == make_others_file)
        ck_assert_int_eq(size_of(path), 0);
    snprintf(path, sizeof(path), "%s", own_log());
    says(traps[_i].reason);
    ck_assert_uint_eq(count("level=warn event=log-elsewhere path="), 1);
    says("event=login token=east");
    says("class=sign key=");
    ck_assert_uint_eq(count("\n"), 4);
    ks_key_free(key);
    log_done();
}
END_TEST

START_TEST(a_pipe_is_a_log_while_somebody_reads_it)
{
    char got[4096] = "";
    struct ks_key *key;
    int fd;

    log_to_file(KS_LOG_INFO, false);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    named_token(0);
    alarm(20);                       /* ends the test, if it does block */
    key = fx_new_key(FAKE_RSA, "k"); /* nobody does */
    alarm(0);
    fd = open(path, O_RDONLY | O_NONBLOCK);
    ck_assert_int_ge(fd, 0);
    fake_lose_login();
    fx_sign_well(key, "k");
    ck_assert_int_gt(read(fd, got, sizeof(got) - 1), 0);
    ck_assert_ptr_nonnull(strstr(got, "event=login token=east\n"));
    close(fd);
    ck_assert_int_ne(access(own_log(), F_OK), 0);
    ks_key_free(key);
    log_done();
}
END_TEST

/* A service that loads keys as root and becomes another user then. */
struct drop {
    struct ks_key *key;
    const char *file; /* what it wrote to before */
};

static void sign_as_another_user(void *arg)
{
    struct drop *drop = arg;
    uint8_t sig[FX_ROOM];
    size_t len = sizeof(sig);

    if (geteuid() == 0)
        fx_need(setgid(65534) == 0 && setuid(65534) == 0, "setuid");
    else
        fx_need(chmod(drop->file, 0400) == 0, "chmod");
    for (int i = 0; i < 5; i++, len = sizeof(sig))
        fx_need(ks_ok(ks_sign(drop->key, NULL, &fx_pkcs1, fx_digest, sizeof(fx_digest), sig, &len,
                              &fx.err)),
                "signing failed");
}

static struct drop before_the_change(void)
{
    struct drop drop = {.file = path};

    log_to_file(KS_LOG_OFF, true);
    named_token(0);
    setenv("HSM_UNIT_PIN", "1234", 1);
    fake_add_pair(fx.slot, FAKE_RSA, "k");
    drop.key = fx_key("k");
    fx_ok(fx_sign(drop.key));
    ck_assert_uint_eq(count("outcome=done\n"), 1);
    return drop;
}

START_TEST(a_process_that_becomes_another_user_loses_no_line)
{
    struct drop drop = before_the_change();
    char own[120];

    ck_assert_int_eq(chmod(fx.dir, 0777), 0);
    fx_write(fx.pin_path, "1234", 0600);
    snprintf(own, sizeof(own), "%s/log.%lu", fx.dir,
             geteuid() == 0 ? 65534UL : (unsigned long)geteuid());
    fx_in_child(sign_as_another_user, &drop);
    ck_assert_uint_eq(count("outcome=done\n"), 1);
    snprintf(path, sizeof(path), "%s", own);
    ck_assert_uint_eq(count("outcome=done\n"), 5);
    ck_assert_uint_eq(count("event=log-elsewhere path="), 1);
    says("reason=\"Permission denied\"");
    ks_key_free(drop.key);
    log_done();
}
END_TEST

/* With %p in the name nobody can make the file for it beforehand. */
static void become_another_user(void *key)
{
    char real[192], own[224], line[4096];
    struct drop drop = {.key = key, .file = real};
    unsigned rest = 0;
    FILE *f;

    snprintf(real, sizeof(real), "%s/%ld.log", fx.dir, (long)getpid());
    fx_need(ks_ok(fx_sign(key)), "signing failed");
    sign_as_another_user(&drop);
    snprintf(own, sizeof(own), "%s.%lu", real, (unsigned long)geteuid());
    fx_need(chmod(real, 0600) == 0 || errno == EPERM, "no file with the process' number");
    f = fopen(own, "r");
    fx_need(f != NULL, "no file of its own");
    while (fgets(line, sizeof(line), f) != NULL)
        rest += strstr(line, "outcome=done\n") != NULL;
    fclose(f);
    fx_need(rest == 5, "lines are missing");
}

START_TEST(also_with_its_number_in_the_name)
{
    struct ks_log_config config = {.target = where, .audit = true};
    struct ks_key *key;

    snprintf(where, sizeof(where), "file:%s/%%p.log", fx.dir);
    fx_ok(ks_log_open(&config, &fx.err));
    ck_assert_int_eq(chmod(fx.dir, 0777), 0);
    named_token(0);
    key = fx_new_key(FAKE_RSA, "k");
    fx_in_child(become_another_user, key);
    ks_key_free(key);
    ks_log_close();
}
END_TEST

static int syslog_at(char *where_, size_t size)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(where_, size, "%s/syslog", fx.dir);
    snprintf(name.sun_path, sizeof(name.sun_path), "%s/syslog", fx.dir);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&name, sizeof(name)), 0);
    ck_assert_int_eq(chmod(where_, 0666), 0);
    return fd;
}

START_TEST(where_it_may_make_no_file_there_is_syslog)
{
    struct drop drop = before_the_change();
    char socket_path[100], line[4096];
    unsigned audits = 0, notices = 0;
    int fd = syslog_at(socket_path, sizeof(socket_path));
    ssize_t n;

    ks_log_socket = socket_path;
    ck_assert_int_eq(chmod(fx.dir, 0555), 0);
    fx_in_child(sign_as_another_user, &drop);
    ck_assert_int_eq(chmod(fx.dir, 0700), 0);
    while ((n = recv(fd, line, sizeof(line) - 1, 0)) > 0) {
        line[n] = '\0';
        ck_assert_ptr_null(strchr(line, '\n'));
        audits += strstr(line, "level=audit event=operation") != NULL;
        notices += strstr(line, "event=log-elsewhere path=") != NULL;
    }
    ck_assert_uint_eq(audits, 5);
    ck_assert_uint_eq(notices, 1);
    close(fd);
    ks_log_socket = "/dev/log";
    ks_key_free(drop.key);
    log_done();
}
END_TEST

static void lose_five(void *arg)
{
    char *stats = NULL;

    sign_as_another_user(arg);
    fx_need(ks_ok(ks_stats_text(&stats, &fx.err)), "no statistics");
    fx_need(strstr(stats, "hsm_log_lines_lost_total{} 5\n") != NULL, "not counted");
    free(stats);
}

START_TEST(and_without_that_they_are_counted)
{
    struct drop drop = before_the_change();

    ks_log_socket = "/nowhere/log";
    ck_assert_int_eq(chmod(fx.dir, 0555), 0);
    fx_in_child(lose_five, &drop);
    ck_assert_int_eq(chmod(fx.dir, 0700), 0);
    ks_log_socket = "/dev/log";
    ks_key_free(drop.key);
    log_done();
}
END_TEST

START_TEST(bad_and_conflicting_settings)
{
    static const char *const bad[] = {"", "file:log", "stdout", "file:", "Syslog"};
    struct ks_log_config config = {.target = "stderr", .level = KS_LOG_ERROR};

    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        config.target = bad[i];
        fx_fails(ks_log_open(&config, &fx.err), KS_CONFIG);
    }
    config.target = "stderr";
    fx_ok(ks_log_open(&config, &fx.err));
    fx_ok(ks_log_open(&config, &fx.err));
    config.level = KS_LOG_INFO;
    fx_fails(ks_log_open(&config, &fx.err), KS_CONFIG);
    fx_says("other settings");
    ks_log_close();
    ks_log_close();
    fx_ok(ks_log_open(&config, &fx.err));
    ks_log_close();
}
END_TEST

int main(void)
{
    const struct fx_test tests[] = {
        {nothing_without_a_log, 0},
        {one_line_an_event_in_logfmt, 0},
        {down_and_up_again, 0},
        {refused_logins_without_the_pin, 0},
        {refused_operations, 0},
        {what_programs_may_not_show, 0},
        {a_token_that_cannot_be_reached, 0},
        {a_token_that_hangs, 0},
        {one_line_whatever_the_label, 0},
        {audit_of_every_private_operation, 0},
        {audit_of_operations_that_move_on, 0},
        {a_flood_is_cut_and_counted, 0},
        {forks_and_rotation, 0},
        {a_reader_that_went_away, 0},
        {what_others_have_put_there_is_not_written_to, COUNT_OF(traps)},
        {a_pipe_is_a_log_while_somebody_reads_it, 0},
        {a_process_that_becomes_another_user_loses_no_line, 0},
        {also_with_its_number_in_the_name, 0},
        {where_it_may_make_no_file_there_is_syslog, 0},
        {and_without_that_they_are_counted, 0},
        {bad_and_conflicting_settings, 0},
    };

    return fx_main("ks_log", tests, COUNT_OF(tests));
}

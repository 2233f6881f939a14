/* SPDX-License-Identifier: Apache-2.0
 *
 * exits KEY.pem ROUNDS WAY...: a program as others write it, which knows EVP and nothing of HSMs,
 * and the ways in which it forks and ends. Each round is a process of its own, that loads the key,
 * signs, goes that way, and is watched: how it ended, what its processes say of their signatures,
 * and that none of them is left after a bounded time. The table at the end has the ways.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "keys.h"

#define REPORT      9 /* the descriptor on which a process says how it went: g(ood) or b(ad) */
#define THREADS     8
#define FORKS       20
#define LIMIT_MS    30000
#define WARM_UP     3  /* signatures by each thread before something happens to them */
#define BEFORE_TERM 15 /* ms, at most */

static const char *key_path;
static EVP_PKEY *key, *pub;
static EVP_MD_CTX *unfinished;
static pthread_t threads[THREADS];
static atomic_uint signatures, warm;
static atomic_bool stop, ending;
static unsigned files_at_start;

/* --- reports --------------------------------------------------------------------------------- */

static void say(char c)
{
    if (write(REPORT, &c, 1) != 1)
        _exit(99);
}

static void good(void)
{
    say('g');
}

static void bad(const char *what)
{
    fprintf(stderr, "%s, in process %ld\n", what, (long)getpid());
    ERR_print_errors_fp(stderr);
    say('b');
}

/* --- signatures ------------------------------------------------------------------------------ */

/* Sign once. 1: the signature was made and is right. 0: none was made. -1: it is wrong. */
static int sign_with(OSSL_LIB_CTX *libctx, EVP_PKEY *with)
{
    EVP_MD_CTX *sign = EVP_MD_CTX_new(), *verify = EVP_MD_CTX_new();
    unsigned char signature[1024];
    size_t len = sizeof(signature);
    char message[64];
    size_t size;
    int made = 0;

    size = (size_t)snprintf(message, sizeof(message), "process %ld, signature %u", (long)getpid(),
                            atomic_fetch_add(&signatures, 1));
    if (EVP_DigestSignInit_ex(sign, NULL, "SHA256", libctx, NULL, with, NULL) == 1 &&
        EVP_DigestSign(sign, signature, &len, (unsigned char *)message, size) == 1)
        made = EVP_DigestVerifyInit(verify, NULL, EVP_sha256(), NULL, pub) == 1 &&
                       EVP_DigestVerify(verify, signature, len, (unsigned char *)message, size) == 1
                   ? 1
                   : -1;
    EVP_MD_CTX_free(sign);
    EVP_MD_CTX_free(verify);
    return made;
}

static void must_sign(const char *who)
{
    if (sign_with(NULL, key) == 1)
        good();
    else
        bad(who);
}

/* Sign until told to stop. Once the process ends, signatures may fail, but none may be wrong. */
static void *sign_on(void *arg)
{
    unsigned count = 0;

    (void)arg;
    while (!atomic_load(&stop)) {
        int made = sign_with(NULL, key);

        if (made == 1 && ++count == WARM_UP)
            atomic_fetch_add(&warm, 1);
        if (made == 1 || (made == 0 && atomic_load(&ending)))
            continue;
        if (!atomic_load(&ending) || made < 0) {
            bad(made < 0 ? "a wrong signature" : "a thread could not sign");
            return NULL;
        }
    }
    return NULL;
}

static void nap(long ms)
{
    const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    nanosleep(&pause, NULL);
}

/* OpenSSL's locks do not survive a fork: a child hangs now and then if another thread was using one
 * for the first time (its random generator, an algorithm), with software keys as well. */
static void busy(void)
{
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, sign_on, NULL) != 0)
            bad("no thread");
    while (atomic_load(&warm) < THREADS)
        nap(1);
}

static void idle(void)
{
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

/* --- processes ------------------------------------------------------------------------------- */

static pid_t must_fork(void)
{
    pid_t pid = fork();

    if (pid < 0) {
        bad("fork");
        exit(98);
    }
    return pid;
}

static void must_end(pid_t pid, int status)
{
    int ended = 0;

    while (waitpid(pid, &ended, 0) < 0 && errno == EINTR)
        ;
    if (!WIFEXITED(ended) || WEXITSTATUS(ended) != status) {
        fprintf(stderr, "child %ld: wait status 0x%x, not exit status %d\n", (long)pid,
                (unsigned)ended, status);
        bad("a child ended otherwise");
    }
}

/* --- ways to end ----------------------------------------------------------------------------- */

static int way_return(void)
{
    unfinished = EVP_MD_CTX_new();
    if (EVP_DigestSignInit(unfinished, NULL, EVP_sha256(), NULL, key) != 1 ||
        EVP_DigestSignUpdate(unfinished, "abc", 3) != 1)
        bad("the operation that is never finished");
    must_sign("main");
    return 0;
}

static int way_free(void)
{
    must_sign("main");
    EVP_PKEY_free(pub);
    EVP_PKEY_free(key);
    key = pub = NULL;
    return 0;
}

static void *exit_here(void *arg)
{
    (void)arg;
    must_sign("the thread that calls exit()");
    atomic_store(&ending, true);
    exit(7);
}

static int way_exit_in_thread(void)
{
    pthread_t last;

    busy();
    if (pthread_create(&last, NULL, exit_here, NULL) != 0)
        bad("no thread");
    pthread_join(last, NULL);
    return 97;
}

static int way_return_while_signing(void)
{
    busy();
    must_sign("main");
    atomic_store(&ending, true);
    return 0;
}

static int way_cleanup(void)
{
    must_sign("main");
    OPENSSL_cleanup();
    return 3;
}

static int way_free_cleanup(void)
{
    (void)way_free();
    OPENSSL_cleanup();
    return 3;
}

/* Wait for the end of standard input. The test stops the token's server meanwhile. */
static int way_wait(void)
{
    must_sign("main");
    while (getchar() != EOF)
        ;
    return 4;
}

/* --- ways to unload -------------------------------------------------------------------------- */

/* Sign in a library context of its own, in which the configuration does not activate the
 * provider. */
static int in_context(bool context_first)
{
    OSSL_LIB_CTX *libctx = OSSL_LIB_CTX_new();
    OSSL_PROVIDER *software, *hsm;
    EVP_PKEY *its;

    if (OSSL_LIB_CTX_load_config(libctx, getenv("OPENSSL_CONF")) != 1) {
        bad("the configuration");
        return 96;
    }
    software = OSSL_PROVIDER_load(libctx, "default");
    hsm = OSSL_PROVIDER_load(libctx, "hsm");
    its = keys_load(libctx, key_path);
    if (pub == NULL && its != NULL)
        pub = keys_public_half(its);
    if (software != NULL && hsm != NULL && its != NULL && sign_with(libctx, its) == 1)
        good();
    else
        bad("a key in a library context");
    OSSL_PROVIDER_unload(hsm);
    if (sign_with(libctx, its) < 0) /* it may fail or not, as libcrypto decides */
        bad("a wrong signature");
    ERR_clear_error();
    OSSL_PROVIDER_unload(software);
    if (context_first)
        OSSL_LIB_CTX_free(libctx);
    EVP_PKEY_free(its);
    if (!context_first)
        OSSL_LIB_CTX_free(libctx);
    return 0;
}

static int way_unload(void)
{
    (void)in_context(false);
    return in_context(false); /* and again */
}

static int way_free_context(void)
{
    (void)in_context(true);
    return in_context(true);
}

/* --- signals --------------------------------------------------------------------------------- */

static void on_term(int number)
{
    (void)number;
    atomic_store(&ending, true);
    exit(5); // NOLINT(bugprone-signal-handler,cert-sig30-c): as many do
}

static void *terminate(void *arg)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    nap(now.tv_nsec / 1000 % BEFORE_TERM);
    if (arg != NULL)
        // NOLINTNEXTLINE(bugprone-bad-signal-to-kill-thread,cert-pos44-c): the process is meant
        pthread_kill(*(pthread_t *)arg, SIGTERM);
    else
        kill(getpid(), SIGTERM);
    return NULL;
}

static int terminated(void)
{
    pthread_t self = pthread_self(), other;

    must_sign("main");
    if (pthread_create(&other, NULL, terminate, &self) != 0)
        bad("no thread");
    (void)sign_on(NULL);
    return 97;
}

static int way_term_handler(void)
{
    signal(SIGTERM, on_term);
    return terminated();
}

static int way_term_default(void)
{
    return terminated();
}

static int way_term_threads(void)
{
    pthread_t other;

    signal(SIGTERM, on_term);
    busy();
    must_sign("main");
    if (pthread_create(&other, NULL, terminate, NULL) != 0)
        bad("no thread");
    (void)sign_on(NULL);
    return 97;
}

/* --- forks ----------------------------------------------------------------------------------- */

static int way_child_quits(void)
{
    pid_t pid = must_fork();

    if (pid == 0) {
        must_sign("the child");
        _exit(9);
    }
    must_end(pid, 9);
    must_sign("the parent");
    return 0;
}

static int way_child_does_nothing(void)
{
    pid_t pid = must_fork();

    if (pid == 0)
        exit(9);
    must_end(pid, 9);
    must_sign("the parent");
    return 0;
}

/* Forks amid signing threads; each child signs, in a thread of its own as well. */
static void child_signs(void)
{
    pthread_t other;

    atomic_store(&signatures, 0);
    must_sign("the child");
    if (pthread_create(&other, NULL, sign_on, NULL) != 0)
        bad("no thread");
    must_sign("the child, again");
    atomic_store(&stop, true);
    pthread_join(other, NULL);
}

static int way_forks_while_signing(void)
{
    busy();
    for (int i = 0; i < FORKS; i++) {
        pid_t pid = must_fork();

        if (pid == 0) {
            child_signs();
            exit(9);
        }
        must_end(pid, 9);
    }
    idle();
    must_sign("the parent");
    return 0;
}

/* Children that all sign at the same time, and end in turn by exit(), _exit() and a signal. */
static int way_children_while_signing(void)
{
    pid_t pids[6];
    int status;

    busy();
    for (int i = 0; i < 6; i++) {
        pids[i] = must_fork();
        if (pids[i] != 0)
            continue;
        child_signs();
        if (i % 3 == 0)
            exit(9);
        if (i % 3 == 1)
            _exit(9);
        raise(SIGKILL);
    }
    for (int i = 0; i < 6; i++) {
        if (i % 3 < 2)
            must_end(pids[i], 9);
        else if (waitpid(pids[i], &status, 0) != pids[i] || !WIFSIGNALED(status))
            bad("a child ended otherwise");
    }
    idle();
    must_sign("the parent");
    return 0;
}

static void *fork_here(void *arg)
{
    pid_t pid = must_fork();

    (void)arg;
    if (pid == 0) {
        must_sign("the thread's child");
        exit(9);
    }
    must_end(pid, 9);
    must_sign("the thread that forked");
    return NULL;
}

static int way_fork_in_thread(void)
{
    pthread_t other;

    must_sign("main"); /* see busy() */
    if (pthread_create(&other, NULL, fork_here, NULL) != 0)
        bad("no thread");
    must_sign("main");
    pthread_join(other, NULL);
    must_sign("main");
    return 0;
}

static int way_double_fork(void)
{
    pid_t pid = must_fork();

    if (pid == 0) {
        if (must_fork() == 0) {
            must_sign("the child's child");
            exit(0);
        }
        _exit(9);
    }
    must_end(pid, 9);
    must_sign("the parent");
    return 0;
}

/* Become a daemon as daemon(3) does, with two forks. The descriptors 0 to 2 are closed. */
static int way_daemon(void)
{
    int null = open("/dev/null", O_RDWR);

    must_sign("before");
    if (must_fork() != 0)
        return 0;
    setsid();
    if (must_fork() != 0)
        _exit(0);
    if (chdir("/") != 0 || null < 0)
        bad("the daemon");
    for (int i = 0; i < 3; i++)
        dup2(null, i);
    close(null);
    must_sign("the daemon");
    busy();
    idle();
    return 0;
}

static unsigned open_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned count = 0;

    while (dir != NULL && readdir(dir) != NULL)
        count++;
    if (dir != NULL)
        closedir(dir);
    return count;
}

/* Execute this program again: the new one has inherited none of our descriptors. */
static int way_exec(void)
{
    char files[16];

    must_sign("before exec");
    snprintf(files, sizeof(files), "%u", files_at_start);
    setenv("EXITS_FILES", files, 1);
    execl("/proc/self/exe", "exits", key_path, "run", "after exec", (char *)NULL);
    bad("exec");
    return 95;
}

static int way_after_exec(void)
{
    const char *files = getenv("EXITS_FILES");

    if (files == NULL || strtoul(files, NULL, 10) != files_at_start)
        bad("files of ours are open in the new program");
    must_sign("after exec");
    return 0;
}

/* --- watching -------------------------------------------------------------------------------- */

/* OpenSSL 3.0 itself crashes now and then when exit() is called while other threads use it, with
 * software keys as well: where there are such threads it is told to leave its cleaning up. */
static const struct way {
    const char *name;
    int (*go)(void);
    int status;     /* exit status; negative: the signal */
    unsigned goods; /* how many processes and threads have good news */
    enum { PLAIN, OWN_CONTEXT, NO_ATEXIT } start;
} ways[] = {
    {"return", way_return, 0, 1, PLAIN},
    {"free", way_free, 0, 1, PLAIN},
    {"cleanup", way_cleanup, 3, 1, PLAIN},
    {"free, cleanup", way_free_cleanup, 3, 1, PLAIN},
    {"wait", way_wait, 4, 1, PLAIN},
    {"unload", way_unload, 0, 2, OWN_CONTEXT},
    {"free the context", way_free_context, 0, 2, OWN_CONTEXT},
    {"exit in a thread", way_exit_in_thread, 7, 1, NO_ATEXIT},
    {"return while signing", way_return_while_signing, 0, 1, NO_ATEXIT},
    {"SIGTERM, exit in the handler", way_term_handler, 5, 1, PLAIN},
    {"SIGTERM, exit in the handler, threads", way_term_threads, 5, 1, NO_ATEXIT},
    {"SIGTERM", way_term_default, -SIGTERM, 1, PLAIN},
    {"child quits", way_child_quits, 0, 2, PLAIN},
    {"child does nothing", way_child_does_nothing, 0, 1, PLAIN},
    {"forks while signing", way_forks_while_signing, 0, 2 * FORKS + 1, PLAIN},
    {"children while signing", way_children_while_signing, 0, 13, PLAIN},
    {"fork in a thread", way_fork_in_thread, 0, 5, PLAIN},
    {"double fork", way_double_fork, 0, 2, PLAIN},
    {"daemon", way_daemon, 0, 2, PLAIN},
    {"exec", way_exec, 0, 2, PLAIN},
    {"after exec", way_after_exec, 0, 1, PLAIN},
};

static const struct way *find(const char *name)
{
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
        if (strcmp(ways[i].name, name) == 0)
            return &ways[i];
    fprintf(stderr, "no such way: %s\n", name);
    exit(2);
}

static int run(const struct way *way)
{
    files_at_start = open_files();
    if (way->start == NO_ATEXIT)
        OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
    if (way->start != OWN_CONTEXT) {
        key = keys_load(NULL, key_path);
        if (key != NULL)
            pub = keys_public_half(key);
        if (pub == NULL) {
            bad("the key");
            return 94;
        }
    }
    return way->go();
}

/* Count what the processes of a round report, until the last of them has ended. False: one of them
 * has not ended in time. */
static bool listen_to(int fd, unsigned *goods, unsigned *bads)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    char said[64];
    ssize_t n;

    *goods = *bads = 0;
    for (;;) {
        if (poll(&wait, 1, LIMIT_MS) <= 0)
            return false;
        n = read(fd, said, sizeof(said));
        if (n <= 0)
            return n == 0;
        for (ssize_t i = 0; i < n; i++)
            *(said[i] == 'g' ? goods : bads) += 1;
    }
}

static pid_t start(const struct way *way, int report)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(report, REPORT);
    if (report != REPORT)
        close(report);
    execl("/proc/self/exe", "exits", key_path, "run", way->name, (char *)NULL);
    _exit(93);
}

static bool watch(const struct way *way)
{
    unsigned goods, bads;
    bool in_time, as_told;
    int ends[2], status = 0;
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    pid = start(way, ends[1]);
    close(ends[1]);
    in_time = listen_to(ends[0], &goods, &bads);
    close(ends[0]);
    if (!in_time)
        kill(-pid, SIGABRT);
    waitpid(pid, &status, 0);
    as_told = way->status < 0 ? WIFSIGNALED(status) && WTERMSIG(status) == -way->status
                              : WIFEXITED(status) && WEXITSTATUS(status) == way->status;
    if (in_time && as_told && bads == 0 && goods == way->goods)
        return true;
    fprintf(stderr, "%s: wait status 0x%x, expected %s %d; %u good of %u, %u bad%s\n", way->name,
            (unsigned)status, way->status < 0 ? "signal" : "exit status", abs(way->status), goods,
            way->goods, bads, in_time ? "" : "; some of its processes hang");
    return false;
}

int main(int argc, char **argv)
{
    unsigned rounds;
    bool ok = true;

    if (argc < 4) {
        fprintf(stderr, "usage: exits KEY.pem ROUNDS WAY...\n");
        return 2;
    }
    key_path = argv[1];
    if (strcmp(argv[2], "run") == 0)
        return run(find(argv[3]));
    rounds = (unsigned)strtoul(argv[2], NULL, 10);
    for (int i = 3; i < argc; i++) {
        const struct way *way = find(argv[i]);
        unsigned failed = 0;

        for (unsigned j = 0; j < rounds; j++)
            failed += !watch(way);
        printf("%s: %u of %u rounds good\n", way->name, rounds - failed, rounds);
        fflush(stdout);
        ok = ok && failed == 0;
    }
    return ok ? 0 : 1;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * ks_pin.c - where a PIN comes from, and the page it is kept in: locked, out of core dumps,
 * wiped at the end. It has to stay in memory: a web server's workers log in after they have lost
 * the right to read the PIN file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ks_internal.h"

#define PIN_MAX 1024

enum source_kind { SOURCE_FILE, SOURCE_ENV, SOURCE_PROMPT };

struct pin_page {
    char pin[PIN_MAX + 1];
    char spare[PIN_MAX + 1];
};

struct ks_pin {
    char *source;
    enum source_kind kind;
    const char *rest; /* of source, behind the prefix */
    struct pin_page *page;
    size_t len;           /* 0: not read yet */
    atomic_bool outdated; /* refused: look at the source again */
};

/* PINs that tokens refused, for the life of the process and whoever asks: handles come and go,
 * but the token counts. One page: (hash of the token, length, bytes) each. */
#define REFUSALS_SIZE 4096
struct refusal {
    uint64_t token;
    uint32_t len;
    /* the bytes follow, padded to 4 */
};
static pthread_mutex_t refusals_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned char *refusals;
static size_t refusals_used;
static bool refusals_full; /* nothing more can be remembered: no more PINs are tried */

static const struct {
    const char *prefix;
    enum source_kind kind;
    bool rest;
} sources[] = {
    {"file:", SOURCE_FILE, true},
    {"env:", SOURCE_ENV, true},
    {"prompt", SOURCE_PROMPT, false},
};

ks_status ks_pin_new(const char *source, struct ks_pin **out, struct ks_error *err)
{
    struct ks_pin *pin = calloc(1, sizeof(*pin));
    size_t i, prefix_len = 0;
    ks_status st;

    if (pin == NULL || (pin->source = strdup(source)) == NULL) {
        st = ks_no_memory(err);
        goto fail;
    }
    for (i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        prefix_len = strlen(sources[i].prefix);
        if (strncmp(source, sources[i].prefix, prefix_len) == 0 &&
            (source[prefix_len] != '\0') == sources[i].rest)
            break;
    }
    /* The value is not shown: somebody may have written the PIN itself there. */
    if (i == sizeof(sources) / sizeof(sources[0]) ||
        (sources[i].kind == SOURCE_FILE && source[prefix_len] != '/')) {
        st = ks_fail(err, KS_CONFIG,
                     "pin: must be file:/absolute/path, env:NAME or prompt (never the PIN itself)");
        goto fail;
    }
    pin->kind = sources[i].kind;
    pin->rest = pin->source + prefix_len;
    pin->page =
        mmap(NULL, sizeof(*pin->page), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pin->page == MAP_FAILED) {
        pin->page = NULL;
        st = ks_no_memory(err);
        goto fail;
    }
    (void)madvise(pin->page, sizeof(*pin->page), MADV_DONTDUMP);
    ks_pin_forked(pin);
    *out = pin;
    return KS_SUCCESS;
fail:
    ks_pin_free(pin);
    return st;
}

void ks_pin_free(struct ks_pin *pin)
{
    if (pin == NULL)
        return;
    if (pin->page != NULL) {
        explicit_bzero(pin->page, sizeof(*pin->page));
        munmap(pin->page, sizeof(*pin->page));
    }
    if (pin->source != NULL)
        explicit_bzero(pin->source, strlen(pin->source));
    free(pin->source);
    free(pin);
}

/* A page for secrets. */
static void *secret_page(size_t size)
{
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return NULL;
    (void)madvise(page, size, MADV_DONTDUMP);
    /* May fail where RLIMIT_MEMLOCK is small; the page still stays out of core dumps. */
    (void)mlock(page, size);
    return page;
}

void ks_pin_forked(struct ks_pin *pin)
{
    (void)mlock(pin->page, sizeof(*pin->page));
    if (refusals != NULL)
        (void)mlock(refusals, REFUSALS_SIZE);
}

void ks_pins_forked(void)
{
    pthread_mutex_init(&refusals_lock, NULL);
}

const char *ks_pin_source(const struct ks_pin *pin)
{
    return pin->source;
}

bool ks_pin_asks(const struct ks_pin *pin)
{
    return pin->kind == SOURCE_PROMPT;
}

bool ks_pin_peek(const struct ks_pin *pin, const char **bytes, size_t *len)
{
    *bytes = pin->page->pin;
    *len = pin->len;
    return pin->len > 0 && !pin->outdated;
}

/* --- refusals -------------------------------------------------------------------------------- */

static bool refused_locked(uint64_t token, const char *bytes, size_t len)
{
    struct refusal r;

    for (size_t at = 0; at < refusals_used; at += sizeof(r) + ((r.len + 3) & ~3U)) {
        memcpy(&r, refusals + at, sizeof(r));
        if (r.token == token && r.len == len && memcmp(refusals + at + sizeof(r), bytes, len) == 0)
            return true;
    }
    return refusals_full;
}

bool ks_pin_was_refused(uint64_t token, const char *bytes, size_t len)
{
    bool refused;

    pthread_mutex_lock(&refusals_lock);
    refused = refused_locked(token, bytes, len);
    pthread_mutex_unlock(&refusals_lock);
    return refused;
}

void ks_pin_refused(struct ks_pin *pin, uint64_t token)
{
    struct refusal r = {.token = token, .len = (uint32_t)pin->len};
    size_t size = sizeof(r) + ((pin->len + 3) & ~(size_t)3);

    pthread_mutex_lock(&refusals_lock);
    if (refusals == NULL)
        refusals = secret_page(REFUSALS_SIZE);
    if (refusals == NULL || refusals_used + size > REFUSALS_SIZE) {
        refusals_full = true;
    } else if (!refused_locked(token, pin->page->pin, pin->len)) {
        memcpy(refusals + refusals_used, &r, sizeof(r));
        memcpy(refusals + refusals_used + sizeof(r), pin->page->pin, pin->len);
        refusals_used += size;
    }
    pthread_mutex_unlock(&refusals_lock);
    pin->outdated = true;
}

void ks_pin_forget(struct ks_pin *pin)
{
    pin->len = 0;
    explicit_bzero(pin->page, sizeof(*pin->page));
}

void ks_pin_outdated(struct ks_pin *pin)
{
    pin->outdated = true;
}

/* --- sources --------------------------------------------------------------------------------- */

static ks_status check_file(int fd, const char *path, struct ks_error *err)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return ks_fail(err, KS_PIN_SOURCE, "PIN file %s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return ks_fail(err, KS_PIN_SOURCE, "PIN file %s: not a regular file", path);
    if (st.st_uid != 0 && st.st_uid != geteuid())
        return ks_fail(err, KS_PIN_SOURCE,
                       "PIN file %s: belongs to user %lu; it must belong to root or to the user "
                       "of this process",
                       path, (unsigned long)st.st_uid);
    if ((st.st_mode & (S_IWGRP | S_IRWXO)) != 0)
        return ks_fail(err, KS_PIN_SOURCE,
                       "PIN file %s: mode %04o lets others in; run: chmod 0600 %s", path,
                       (unsigned)(st.st_mode & 07777), path);
    return KS_SUCCESS;
}

static ks_status read_file(struct ks_pin *pin, struct ks_error *err)
{
    char path[512], *to = pin->page->spare;
    size_t len = 0;
    ks_status st;
    ssize_t n;
    int fd;

    ks_escape(path, sizeof(path), pin->rest, SIZE_MAX);
    /* O_NONBLOCK: a FIFO in that place must not stop us. */
    fd = open(pin->rest, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return ks_fail(err, KS_PIN_SOURCE, "PIN file %s: %s", path, strerror(errno));
    st = check_file(fd, path, err);
    while (ks_ok(st) && len < sizeof(pin->page->spare)) {
        n = read(fd, to + len, sizeof(pin->page->spare) - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            st = ks_fail(err, KS_PIN_SOURCE, "PIN file %s: %s", path, strerror(errno));
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    close(fd);
    if (!ks_ok(st))
        return st;
    if (len > 0 && to[len - 1] == '\n')
        len--;
    if (len == 0 || len > PIN_MAX)
        return ks_fail(err, KS_PIN_SOURCE, "PIN file %s: %s", path,
                       len == 0 ? "is empty" : "is too long for a PIN");
    /* the same as before, most often, and somebody may be reading it */
    if (len != pin->len || memcmp(pin->page->pin, to, len) != 0)
        memcpy(pin->page->pin, to, len);
    pin->len = len;
    return KS_SUCCESS;
}

static ks_status read_env(struct ks_pin *pin, struct ks_error *err)
{
    const char *value = secure_getenv(pin->rest);
    char name[128];
    size_t len;

    ks_escape(name, sizeof(name), pin->rest, SIZE_MAX);
    if (value == NULL || value[0] == '\0')
        return ks_fail(err, KS_PIN_SOURCE,
                       "PIN: the environment variable %s is not set (servers often clear their "
                       "environment; pin = file:/path does not depend on it)",
                       name);
    len = strlen(value);
    if (len > PIN_MAX)
        return ks_fail(err, KS_PIN_SOURCE, "PIN in %s: too long for a PIN", name);
    memcpy(pin->page->pin, value, len);
    pin->len = len;
    return KS_SUCCESS;
}

static ks_status read_prompt(struct ks_pin *pin, const struct ks_how *how, const char *what,
                             struct ks_error *err)
{
    const struct ks_prompt *prompt = how != NULL ? how->prompt : NULL;
    size_t len = 0;

    if (prompt == NULL || !prompt->ask(prompt->arg, what, pin->page->spare, PIN_MAX, &len) ||
        len == 0 || len > PIN_MAX)
        return ks_fail(err, KS_PIN_SOURCE,
                       "PIN: pin = prompt, but nobody could be asked; the PIN is asked for only "
                       "while a key is loaded");
    memcpy(pin->page->pin, pin->page->spare, len);
    pin->len = len;
    return KS_SUCCESS;
}

void ks_pin_renew(struct ks_pin *pin)
{
    if (pin->kind != SOURCE_FILE || pin->len == 0)
        return;
    ks_pin_forked(pin); /* reading writes to the page, and gives this process a copy of its own */
    if (ks_ok(read_file(pin, NULL)))
        pin->outdated = false;
    explicit_bzero(pin->page->spare, sizeof(pin->page->spare));
}

ks_status ks_pin_get(struct ks_pin *pin, const struct ks_how *how, const char *what,
                     const char **bytes, size_t *len, struct ks_error *err)
{
    ks_status st = KS_SUCCESS;

    if (pin->len == 0 || pin->outdated) {
        if (pin->kind == SOURCE_FILE)
            st = read_file(pin, err);
        else if (pin->kind == SOURCE_ENV)
            st = read_env(pin, err);
        else
            st = read_prompt(pin, how, what, err);
        explicit_bzero(pin->page->spare, sizeof(pin->page->spare));
        if (ks_ok(st))
            pin->outdated = false;
        else if (pin->len > 0 && err != NULL)
            ks_error_add(err, "the token refused the PIN that was read before: if it has been "
                              "changed, reload the service, whose new workers read it");
    }
    if (ks_ok(st)) {
        *bytes = pin->page->pin;
        *len = pin->len;
    }
    return st;
}

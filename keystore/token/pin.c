/* SPDX-License-Identifier: Apache-2.0
 *
 * pin.c - where a PIN comes from, and the page it is kept in: locked, out of core dumps,
 * wiped at the end. It has to stay in memory: a web server's workers log in after they have lost
 * the right to read the PIN file.
 *
 * Each reading makes a page of its own, which never changes: a login on another thread, or one
 * that has not come back for long, goes on with the PIN that it began with.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pin.h"

#define PIN_MAX 1024

enum source_kind { SOURCE_FILE, SOURCE_ENV, SOURCE_PROMPT };

/* A PIN that was read; the whole of a page. */
struct ks_pin_value {
    struct ks_pin_value *next; /* of all in this process */
    struct ks_pin *pin;        /* whose it is */
    unsigned refs;             /* one of them is pin->current */
    size_t len;
    struct ks_pin_mark mark; /* token 0: not made yet */
    char bytes[PIN_MAX + 2]; /* a newline more, and one to see that it is too long */
};
_Static_assert(sizeof(struct ks_pin_value) <= KS_SECRET_SIZE, "a PIN fits into its page");

struct ks_pin {
    char *source;
    enum source_kind kind;
    const char *rest; /* of source, behind the prefix */
    /* ks_secrets_lock() */
    struct ks_pin_value *current; /* NULL: read the source */
    bool refused;                 /* the token refused what was read last */
    struct stat seen;             /* of the file, when that was read */
};

static struct ks_pin_value *values; /* ks_secrets_lock() */

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
    *out = pin;
    return KS_SUCCESS;
fail:
    ks_pin_free(pin);
    return st;
}

/* --- values ---------------------------------------------------------------------------------- */

/* For the caller alone; NULL without memory. */
static struct ks_pin_value *value_new(struct ks_pin *pin)
{
    struct ks_pin_value *v = ks_secret_new();

    if (v == NULL)
        return NULL;
    v->pin = pin;
    v->refs = 1;
    ks_secrets_lock();
    v->next = values;
    values = v;
    ks_secrets_unlock();
    return v;
}

/* Holds the lock. */
static void value_unlink(struct ks_pin_value *v)
{
    struct ks_pin_value **at = &values;

    while (*at != v)
        at = &(*at)->next;
    *at = v->next;
}

void ks_pin_put(struct ks_pin_value *v)
{
    bool last;

    if (v == NULL)
        return;
    ks_secrets_lock();
    last = --v->refs == 0;
    if (last)
        value_unlink(v);
    ks_secrets_unlock();
    if (last)
        ks_secret_free(v);
}

/* `v` (NULL: none) is what the source has. Takes over the caller's reference. If it is the same as
 * before, that stays. */
static void set_current(struct ks_pin *pin, struct ks_pin_value *v)
{
    struct ks_pin_value *old;

    ks_secrets_lock();
    old = pin->current;
    if (v != NULL && old != NULL && v->len == old->len && memcmp(v->bytes, old->bytes, v->len) == 0)
        old = v;
    else
        pin->current = v;
    if (v != NULL)
        pin->refused = false;
    ks_secrets_unlock();
    ks_pin_put(old);
}

struct ks_pin_value *ks_pin_peek(struct ks_pin *pin)
{
    struct ks_pin_value *v;

    ks_secrets_lock();
    v = pin->current;
    if (v != NULL)
        v->refs++;
    ks_secrets_unlock();
    return v;
}

const char *ks_pin_bytes(const struct ks_pin_value *v, size_t *len)
{
    *len = v->len;
    return v->bytes;
}

void ks_pin_mark(struct ks_pin_value *v, uint64_t token, struct ks_pin_mark *mark)
{
    bool made;

    ks_secrets_lock();
    made = v->mark.token == token && v->mark.exact;
    if (made)
        *mark = v->mark;
    ks_secrets_unlock();
    if (made)
        return;
    ks_pin_mark_make(token, v->bytes, v->len, mark);
    ks_secrets_lock();
    v->mark = *mark;
    ks_secrets_unlock();
}

void ks_pin_drop(struct ks_pin *pin, struct ks_pin_value *v)
{
    bool it;

    ks_secrets_lock();
    it = pin->current == v;
    if (it) {
        pin->current = NULL;
        pin->refused = true;
    }
    ks_secrets_unlock();
    if (it)
        ks_pin_put(v);
}

void ks_pin_forget(struct ks_pin *pin)
{
    set_current(pin, NULL);
}

/* The last reference to the token is gone. Who holds a value holds the token as well, so no value
 * is in use. */
void ks_pin_free(struct ks_pin *pin)
{
    struct ks_pin_value *v, *next;

    if (pin == NULL)
        return;
    ks_secrets_lock();
    for (v = values; v != NULL; v = next) {
        next = v->next;
        if (v->pin == pin) {
            value_unlink(v);
            ks_secret_free(v);
        }
    }
    ks_secrets_unlock();
    if (pin->source != NULL)
        explicit_bzero(pin->source, strlen(pin->source));
    free(pin->source);
    free(pin);
}

/* The threads that had the others are the parent's. A module that forks by itself is about to
 * execute a program, with one of them in its hands. */
void ks_pins_forked(void)
{
    struct ks_pin_value *v, *next;

    /* mlock is not inherited; first, as writing makes a copy for this process */
    for (v = values; v != NULL; v = v->next)
        if (v == v->pin->current)
            ks_secret_lock_page(v);
    for (v = values; v != NULL; v = next) {
        next = v->next;
        if (v == v->pin->current) {
            v->refs = 1;
        } else if (!ks_inside_module()) {
            value_unlink(v);
            ks_secret_free(v);
        }
    }
    ks_refused_forked();
}

void ks_pins_end(void)
{
    if (!ks_secrets_try_lock())
        return; /* the end came in the middle of it, in a signal's handler */
    for (struct ks_pin_value *v = values; v != NULL; v = v->next) {
        if (v->refs > 1)
            continue; /* a login that has not come back has it */
        explicit_bzero(v->bytes, sizeof(v->bytes));
        v->len = 0;
    }
    ks_refused_end();
    ks_secrets_unlock();
}

const char *ks_pin_source(const struct ks_pin *pin)
{
    return pin->source;
}

bool ks_pin_asks(const struct ks_pin *pin)
{
    return pin->kind == SOURCE_PROMPT;
}

bool ks_pin_gone(const struct ks_pin *pin)
{
    bool gone;

    ks_secrets_lock();
    gone = pin->current == NULL && pin->refused;
    ks_secrets_unlock();
    return gone;
}

/* --- sources --------------------------------------------------------------------------------- */

static ks_status check_file(int fd, const char *path, struct stat *st, struct ks_error *err)
{
    if (fstat(fd, st) != 0)
        return ks_fail(err, KS_PIN_SOURCE, "PIN file %s: %s", path, strerror(errno));
    if (!S_ISREG(st->st_mode))
        return ks_fail(err, KS_PIN_SOURCE, "PIN file %s: not a regular file", path);
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return ks_fail(err, KS_PIN_SOURCE,
                       "PIN file %s: belongs to user %lu; it must belong to root or to the user "
                       "of this process",
                       path, (unsigned long)st->st_uid);
    if ((st->st_mode & (S_IWGRP | S_IRWXO)) != 0)
        return ks_fail(err, KS_PIN_SOURCE,
                       "PIN file %s: mode %04o lets others in; run: chmod 0600 %s", path,
                       (unsigned)(st->st_mode & 07777), path);
    return KS_SUCCESS;
}

static bool begins(const char *pin, size_t len, const char *with)
{
    return len >= strlen(with) && memcmp(pin, with, strlen(with)) == 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* What editors and other systems leave in a file, and nobody sees: sent as part of the PIN it
 * would be a wrong one. NULL: nothing of that. */
static const char *flaw(const char *pin, size_t len)
{
    if (begins(pin, len, "\xef\xbb\xbf"))
        return "begins with a byte order mark";
    if (begins(pin, len, "\xff\xfe") || begins(pin, len, "\xfe\xff"))
        return "is UTF-16 text";
    if (memchr(pin, '\0', len) != NULL)
        return "has a NUL byte in it";
    if (memchr(pin, '\r', len) != NULL)
        return "has a carriage return in it, as text files of Windows do";
    if (memchr(pin, '\n', len) != NULL)
        return "has more than one line";
    if (is_blank(pin[0]))
        return "begins with a blank";
    if (is_blank(pin[len - 1]))
        return "ends with a blank";
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)pin[i] < 0x20 || pin[i] == 0x7f)
            return "has a control character in it";
    return NULL;
}

static ks_status check_text(const char *path, const char *pin, size_t len, struct ks_error *err)
{
    const char *what;

    if (len == 0 || len > PIN_MAX)
        return ks_fail(err, KS_PIN_SOURCE, "PIN file %s: %s", path,
                       len == 0 ? "is empty" : "is too long for a PIN");
    what = flaw(pin, len);
    if (what == NULL)
        return KS_SUCCESS;
    return ks_fail(err, KS_PIN_SOURCE,
                   "PIN file %s %s; nothing was sent. Write it anew: printf %%s 'PIN' > %s (a PIN "
                   "that is really so: pin = env:NAME)",
                   path, what, path);
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* `not_again`: fails where the file is what it was when it was read last. */
static ks_status read_file(struct ks_pin *pin, struct ks_pin_value *v, bool not_again,
                           struct ks_error *err)
{
    char path[512], *to = v->bytes;
    struct stat now = {0};
    size_t len = 0;
    ks_status st;
    ssize_t n;
    int fd;

    ks_escape(path, sizeof(path), pin->rest, SIZE_MAX);
    /* O_NONBLOCK: a FIFO in that place must not stop us. */
    fd = open(pin->rest, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return ks_fail(err, KS_PIN_SOURCE, "PIN file %s: %s", path, strerror(errno));
    st = check_file(fd, path, &now, err);
    if (ks_ok(st) && not_again && same_file(&now, &pin->seen))
        st = ks_fail(err, KS_PIN_SOURCE, "PIN file %s: has not changed", path);
    while (ks_ok(st) && len < sizeof(v->bytes)) {
        n = read(fd, to + len, sizeof(v->bytes) - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            st = ks_fail(err, KS_PIN_SOURCE, "PIN file %s: %s", path, strerror(errno));
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    close(fd);
    if (ks_ok(st)) {
        if (len > 0 && to[len - 1] == '\n')
            len--;
        st = check_text(path, to, len, err);
    }
    if (ks_ok(st)) {
        pin->seen = now;
        v->len = len;
    }
    return st;
}

static ks_status read_env(struct ks_pin *pin, struct ks_pin_value *v, struct ks_error *err)
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
    memcpy(v->bytes, value, len);
    v->len = len;
    return KS_SUCCESS;
}

static ks_status read_prompt(struct ks_pin_value *v, const struct ks_call_options *opts,
                             const char *what, struct ks_error *err)
{
    const struct ks_prompt *prompt = opts != NULL ? opts->prompt : NULL;
    size_t len = 0;

    if (prompt == NULL || !prompt->ask(prompt->arg, what, v->bytes, PIN_MAX, &len) || len == 0 ||
        len > PIN_MAX)
        return ks_fail(err, KS_PIN_SOURCE,
                       "PIN: pin = prompt, but nobody could be asked; the PIN is asked for only "
                       "while a key is loaded");
    v->len = len;
    return KS_SUCCESS;
}

void ks_pin_renew(struct ks_pin *pin)
{
    struct ks_pin_value *v;
    ks_status st;

    if (pin->kind != SOURCE_FILE || (pin->current == NULL && !pin->refused))
        return;
    v = value_new(pin);
    if (v == NULL)
        return;
    st = read_file(pin, v, pin->current == NULL, NULL);
    if (ks_ok(st))
        set_current(pin, v);
    else
        ks_pin_put(v);
}

ks_status ks_pin_get(struct ks_pin *pin, const struct ks_call_options *opts, const char *what,
                     struct ks_pin_value **out, struct ks_error *err)
{
    struct ks_pin_value *v = ks_pin_peek(pin);
    ks_status st;

    ks_secrets_say();
    if (v == NULL) {
        v = value_new(pin);
        if (v == NULL)
            return ks_no_memory(err);
        if (pin->kind == SOURCE_FILE)
            st = read_file(pin, v, false, err);
        else if (pin->kind == SOURCE_ENV)
            st = read_env(pin, v, err);
        else
            st = read_prompt(v, opts, what, err);
        ks_secrets_say();
        if (!ks_ok(st)) {
            ks_pin_put(v);
            if (pin->refused && err != NULL)
                ks_error_add(err, "the token refused the PIN that was read before: if it has been "
                                  "changed, reload the service, whose new workers read it");
            return st;
        }
        ks_secrets_lock();
        v->refs++;
        ks_secrets_unlock();
        set_current(pin, v);
    }
    *out = v;
    return KS_SUCCESS;
}

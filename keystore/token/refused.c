/* SPDX-License-Identifier: Apache-2.0
 *
 * refused.c - what became of PINs that were sent. A PIN that a token refused is never sent to it
 * again by this process, through no handle: handles come and go, but the token counts.
 *
 * A PIN that one token refused is often right for another, so what is kept is no PIN, but an HMAC
 * of token and PIN under a random key of this process. Key and HMACs stay until the end of the
 * process, when nothing is sent any more; forked children inherit them.
 */
#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>

#include "pin.h"

#define KEY_SIZE    32
#define RECORDS_MAX 64
/* A PIN counts as refused, whatever the code was, after so many logins in a row that failed and
 * that the token counted. */
#define STRIKES_MAX 2

struct record {
    struct ks_pin_mark mark;
    bool refused;
    /* If not: it was sent, and the token has not said whether it is right. */
    bool pending;   /* nor was it looked at since */
    bool low;       /* wrong PINs had been counted before */
    bool ambiguous; /* what it said may mean a wrong PIN, or it has not answered */
    unsigned char strikes;
};

struct table {
    unsigned char key[KEY_SIZE];
    bool keyed;
    size_t count;
    struct record records[RECORDS_MAX];
};
_Static_assert(sizeof(struct table) <= KS_SECRET_SIZE, "the table fits into its page");

static _Atomic(ks_mac_fn *) mac;
/* ks_secrets_lock() */
static struct table *table;
static bool full; /* nothing more can be remembered: no more PINs are tried */

void ks_set_mac(ks_mac_fn *new_mac)
{
    atomic_store(&mac, new_mac);
}

/* Holds the lock. */
static bool have_page(void)
{
    if (table == NULL)
        table = ks_secret_new();
    return table != NULL;
}

/* Holds the lock. */
static bool have_key(void)
{
    if (!have_page())
        return false;
    if (!table->keyed)
        table->keyed = getrandom(table->key, KEY_SIZE, GRND_NONBLOCK) == KEY_SIZE;
    return table->keyed;
}

void ks_pin_mark_make(uint64_t token, const char *pin, size_t len, struct ks_pin_mark *mark)
{
    ks_mac_fn *fn = atomic_load(&mac);
    const unsigned char *key = NULL;

    memset(mark, 0, sizeof(*mark));
    mark->token = token;
    ks_secrets_lock();
    if (fn != NULL && have_key())
        key = table->key; /* constant from now on */
    ks_secrets_unlock();
    mark->exact =
        key != NULL && fn(key, KEY_SIZE, &mark->token, sizeof(mark->token), pin, len, mark->mac);
}

static bool same(const struct ks_pin_mark *a, const struct ks_pin_mark *b)
{
    return a->token == b->token &&
           (!a->exact || !b->exact || memcmp(a->mac, b->mac, sizeof(a->mac)) == 0);
}

/* Holds the lock. NULL: nothing is known of it. */
static struct record *find(const struct ks_pin_mark *mark, bool refused)
{
    for (size_t i = 0; table != NULL && i < table->count; i++)
        if (table->records[i].refused == refused && same(&table->records[i].mark, mark))
            return &table->records[i];
    return NULL;
}

/* Holds the lock. NULL: no room, and then no PIN is sent any more. */
static struct record *add(const struct ks_pin_mark *mark)
{
    struct record *r;

    if (!have_page() || table->count == RECORDS_MAX) {
        full = true;
        return NULL;
    }
    r = &table->records[table->count++];
    *r = (struct record){.mark = *mark};
    return r;
}

/* Holds the lock. */
static enum ks_pin_verdict judge(const struct ks_pin_mark *mark, bool low)
{
    struct record *r;

    if (full || find(mark, true) != NULL)
        return KS_PIN_REFUSED_BEFORE;
    r = find(mark, false);
    if (r != NULL && r->pending && low && (!r->low || r->ambiguous)) {
        r->pending = false; /* said once; the next operation tries once */
        r->strikes++;
        r->refused = r->strikes >= STRIKES_MAX;
        return KS_PIN_COUNTED;
    }
    if (r == NULL)
        r = add(mark);
    if (r == NULL)
        return KS_PIN_REFUSED_BEFORE;
    r->pending = r->ambiguous = true;
    r->low = low;
    return KS_PIN_SEND;
}

enum ks_pin_verdict ks_pin_judge(const struct ks_pin_mark *mark, bool low)
{
    enum ks_pin_verdict verdict;

    ks_secrets_lock();
    verdict = judge(mark, low);
    ks_secrets_unlock();
    return verdict;
}

void ks_pin_answered(const struct ks_pin_mark *mark, enum ks_pin_answer answer)
{
    struct record *r;

    ks_secrets_lock();
    r = find(mark, false);
    if (r == NULL && answer == KS_PIN_WRONG && find(mark, true) == NULL)
        r = add(mark);
    if (r == NULL)
        goto out;
    if (answer == KS_PIN_RIGHT)
        *r = table->records[--table->count];
    else if (answer == KS_PIN_WRONG)
        r->refused = true;
    else
        r->ambiguous = answer == KS_PIN_PERHAPS_WRONG;
out:
    ks_secrets_unlock();
}

void ks_refused_forked(void)
{
    if (table != NULL)
        ks_secret_lock_page(table);
}

void ks_refused_end(void)
{
    full = true;
    if (table != NULL)
        explicit_bzero(table, sizeof(*table));
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * child_context.c - our library context, which follows the application's: what is activated there
 * is activated here.
 *
 * For that libcrypto registers callbacks of the child's with the parent, and takes them back when
 * the child is freed. That reads the parent; but a program may free its library context first and
 * its keys later (with software keys it may), and we are torn down with the last of those. So the
 * callbacks go through a link that outlives both: they are never taken back, and do nothing once it
 * is cut. It is a few words for each time that the provider is loaded.
 *
 * And a program may free its keys after libcrypto has cleaned up (a static object of C++ does),
 * when libcrypto can no longer free a provider: 3.0 crashes over its texts of errors. So with the
 * cleaning up the link takes a reference to the provider, which stays, with the child, until the
 * process is gone; both can be reached from here, for leak checkers.
 */
#include <openssl/core_dispatch.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <string.h>

#include "lifecycle.h"

#define FUNCTIONS_MAX 128 /* of the core's; 3.5 has about 60 */

struct prov_link {
    struct prov_link *next; /* for leak checkers: it stays reachable */
    pthread_rwlock_t lock;
    bool cut;
    const OSSL_CORE_HANDLE *provider; /* links_lock; NULL: torn down */
    OSSL_FUNC_provider_up_ref_fn *core_up_ref;
    OSSL_FUNC_provider_register_child_cb_fn *core_register;
    /* the child's own callbacks */
    int (*create)(const OSSL_CORE_HANDLE *provider, void *data);
    int (*remove)(const OSSL_CORE_HANDLE *provider, void *data);
    int (*global_props)(const char *props, void *data);
    void *data;
    OSSL_LIB_CTX *left; /* what could not be freed; for leak checkers */
};

static pthread_mutex_t links_lock = PTHREAD_MUTEX_INITIALIZER;
static struct prov_link *links; /* links_lock; only ever gets longer */
/* The link whose child is being made or freed by this thread: libcrypto hands us no pointer. */
static _Thread_local struct prov_link *current;

static int on_create(const OSSL_CORE_HANDLE *provider, void *arg)
{
    struct prov_link *link = arg;
    int ok = 1;

    pthread_rwlock_rdlock(&link->lock);
    if (!link->cut)
        ok = link->create(provider, link->data);
    pthread_rwlock_unlock(&link->lock);
    return ok;
}

static int on_remove(const OSSL_CORE_HANDLE *provider, void *arg)
{
    struct prov_link *link = arg;
    int ok = 1;

    /* The child's stores may be locked for ever, and this is called when a process ends. */
    if (ks_forked_amid_threads())
        return 1;
    pthread_rwlock_rdlock(&link->lock);
    if (!link->cut)
        ok = link->remove(provider, link->data);
    pthread_rwlock_unlock(&link->lock);
    return ok;
}

static int on_global_props(const char *props, void *arg)
{
    struct prov_link *link = arg;
    int ok = 1;

    pthread_rwlock_rdlock(&link->lock);
    if (!link->cut)
        ok = link->global_props(props, link->data);
    pthread_rwlock_unlock(&link->lock);
    return ok;
}

static int register_link(const OSSL_CORE_HANDLE *handle,
                         int (*create)(const OSSL_CORE_HANDLE *provider, void *data),
                         int (*remove)(const OSSL_CORE_HANDLE *provider, void *data),
                         int (*global_props)(const char *props, void *data), void *data)
{
    struct prov_link *link = current;

    if (link == NULL || link->data != NULL)
        return 0;
    link->create = create;
    link->remove = remove;
    link->global_props = global_props;
    link->data = data;
    return link->core_register(handle, on_create, on_remove, on_global_props, link);
}

static void cut_link(const OSSL_CORE_HANDLE *handle)
{
    struct prov_link *link = current;

    (void)handle;
    if (link == NULL)
        return;
    pthread_rwlock_wrlock(&link->lock);
    link->cut = true;
    pthread_rwlock_unlock(&link->lock);
}

/* The core's functions, with ours in the places of two. False: there are more than we know. */
static bool redirect(const OSSL_DISPATCH *in, OSSL_DISPATCH *out, struct prov_link *link)
{
    size_t n = 0;

    for (; in->function_id != 0 && n < FUNCTIONS_MAX; in++, n++) {
        out[n] = *in;
        if (in->function_id == OSSL_FUNC_PROVIDER_UP_REF) {
            link->core_up_ref = OSSL_FUNC_provider_up_ref(in);
        } else if (in->function_id == OSSL_FUNC_PROVIDER_REGISTER_CHILD_CB) {
            link->core_register = OSSL_FUNC_provider_register_child_cb(in);
            out[n].function = (void (*)(void))register_link;
        } else if (in->function_id == OSSL_FUNC_PROVIDER_DEREGISTER_CHILD_CB) {
            out[n].function = (void (*)(void))cut_link;
        }
    }
    memset(&out[n], 0, sizeof(out[n]));
    return in->function_id == 0 && link->core_register != NULL;
}

OSSL_LIB_CTX *prov_child_new(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in,
                             struct prov_link **out)
{
    OSSL_DISPATCH functions[FUNCTIONS_MAX + 1];
    struct prov_link *link = OPENSSL_zalloc(sizeof(*link));
    OSSL_LIB_CTX *child = NULL;

    if (link == NULL)
        return NULL;
    pthread_rwlock_init(&link->lock, NULL);
    link->provider = handle;
    pthread_mutex_lock(&links_lock);
    link->next = links;
    links = link;
    pthread_mutex_unlock(&links_lock);
    if (redirect(in, functions, link)) {
        current = link;
        child = OSSL_LIB_CTX_new_child(handle, functions);
        if (child == NULL)
            cut_link(handle);
        current = NULL;
    }
    *out = link;
    return child;
}

void prov_children_forked(void)
{
    pthread_mutex_init(&links_lock, NULL);
    for (struct prov_link *link = links; link != NULL; link = link->next)
        pthread_rwlock_init(&link->lock, NULL);
}

void prov_children_keep(void)
{
    pthread_mutex_lock(&links_lock);
    for (struct prov_link *link = links; link != NULL; link = link->next)
        if (link->provider != NULL && link->core_up_ref != NULL)
            (void)link->core_up_ref(link->provider, 0);
    pthread_mutex_unlock(&links_lock);
}

void prov_child_free(OSSL_LIB_CTX *child, struct prov_link *link)
{
    if (link != NULL) {
        pthread_mutex_lock(&links_lock);
        link->provider = NULL;
        pthread_mutex_unlock(&links_lock);
    }
    if (link != NULL && ks_forked_amid_threads()) {
        link->cut = true; /* and so may this lock */
        link->left = child;
        return;
    }
    current = link;
    OSSL_LIB_CTX_free(child);
    current = NULL;
}

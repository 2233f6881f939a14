/* SPDX-License-Identifier: Apache-2.0
 *
 * facts.c - what a token says of itself, and the tokens that a module has.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../op/op.h"
#include "../token/answer.h"
#include "../token/connect.h"
#include "single.h"

/* What the module says of itself is asked for when somebody wants to know it: no key does. */
static void add_library(struct ks_op *op)
{
    struct ks_token_facts *facts = op->arg;
    CK_INFO info = {0};
    struct ks_gate gate;

    if (facts->module_library[0] != '\0' ||
        !ks_ok(ks_gate_enter(&gate, op->call.token->module, NULL)))
        return;
    if (op->call.token->module->fn->C_GetInfo(&info) == CKR_OK)
        ks_copy_padded(facts->module_library, info.libraryDescription,
                       sizeof(info.libraryDescription));
    ks_gate_leave(&gate);
}

static ks_status facts_direct(struct ks_op *op)
{
    ks_status st = KS_SUCCESS;

    if (!ks_token_connect_lock(op->call.token, op->call.opts))
        return ks_fail_token(op->call.err, op->call.token, KS_TIMEOUT,
                             "another thread has not finished connecting to the token in time");
    if (!ks_token_is_up(op->call.token))
        st = ks_token_find_slot(op->call.token, op->call.opts, op->call.err);
    if (ks_ok(st))
        ks_token_copy_facts(op->call.token, op->arg);
    if (ks_ok(st))
        add_library(op);
    pthread_mutex_unlock(&op->call.token->conn.lock);
    return st;
}

ks_status ks_single_facts(struct ks_token *token, const struct ks_call_options *opts,
                          struct ks_token_facts *out, struct ks_error *err)
{
    struct ks_op op = {.call.token = token,
                       .direct = facts_direct,
                       .arg = out,
                       .arg_size = sizeof(*out),
                       .call.opts = opts,
                       .call.err = err};

    if (!ks_token_is_up(token))
        return ks_op_run_direct(&op);
    ks_token_copy_facts(token, out);
    return KS_SUCCESS;
}

ks_status ks_token_facts(struct ks_token *token, const struct ks_call_options *opts,
                         struct ks_token_facts *out, struct ks_error *err)
{
    return token->kind->facts(token, opts, out, err);
}

/* --- listings -------------------------------------------------------------------------------- */

/* A slot of a module, and its token, or why it could not be read. */
struct listed {
    struct ks_token_facts facts;
    struct ks_error err;
    bool unread;
};

/* `all` is what the list owns. */
struct listing {
    struct listed *all;
    size_t count;
};

static void listing_release(void *arg)
{
    struct listing *listing = arg;

    free(listing->all);
    listing->all = NULL;
}

static ks_status list_slot(struct ks_op *op, CK_SLOT_ID slot, const CK_INFO *library)
{
    CK_FUNCTION_LIST *fn = op->call.token->module->fn;
    struct listing *listing = op->arg;
    struct listed *one = &listing->all[listing->count];
    CK_TOKEN_INFO info = {0};
    struct ks_gate gate;
    ks_status st = ks_gate_enter(&gate, op->call.token->module, op->call.err);
    CK_RV rv;

    if (!ks_ok(st))
        return st;
    rv = fn->C_GetTokenInfo(slot, &info);
    ks_gate_leave(&gate);
    /* it was there when the slots were listed, and is no more */
    if (ks_slot_empty(rv) && rv != CKR_TOKEN_NOT_RECOGNIZED)
        return KS_SUCCESS;
    listing->count++;
    if (rv != CKR_OK) {
        one->unread = true;
        one->facts.slot = slot;
        (void)ks_fail_rv(&one->err, NULL, KS_C_GetTokenInfo, rv, NULL);
        return KS_SUCCESS;
    }
    ks_slot_facts(&one->facts, slot, &info);
    ks_copy_padded(one->facts.module_library, library->libraryDescription,
                   sizeof(library->libraryDescription));
    return KS_SUCCESS;
}

static ks_status list_direct(struct ks_op *op)
{
    struct ks_module *module = op->call.token->module;
    struct listing *listing = op->arg;
    CK_SLOT_ID *slots = NULL;
    CK_ULONG count = 0;
    struct ks_gate gate;
    CK_INFO library = {0};
    ks_status st;

    st = ks_module_ready(module, op->call.err);
    if (ks_ok(st))
        st = ks_gate_enter(&gate, module, op->call.err);
    if (!ks_ok(st))
        return st;
    st = ks_answer_list(NULL, module->fn, KS_LIST_SLOTS, 0, 0, &slots, &count, op->call.err);
    if (module->fn->C_GetInfo(&library) != CKR_OK)
        memset(&library, 0, sizeof(library));
    ks_gate_leave(&gate);
    if (!ks_ok(st))
        return st;
    listing->all = calloc(count + 1, sizeof(*listing->all));
    if (listing->all == NULL) {
        free(slots);
        return ks_no_memory(op->call.err);
    }
    for (CK_ULONG i = 0; i < count && ks_ok(st); i++)
        st = list_slot(op, slots[i], &library);
    free(slots);
    return st;
}

ks_status ks_module_tokens(const char *path, const char *init_args, unsigned timeout_ms,
                           bool (*visit)(void *arg, const struct ks_token_facts *facts,
                                         const struct ks_error *unread),
                           void *arg, struct ks_error *err)
{
    /* of no token in particular: for the time limit */
    const struct ks_token_config config = {
        .name = path, .module = path, .init_args = init_args, .timeout_ms = timeout_ms};
    struct listing listing = {.all = NULL};
    struct ks_token *token = NULL;
    struct ks_op op = {.direct = list_direct,
                       .arg = &listing,
                       .arg_size = sizeof(listing),
                       .release = listing_release,
                       .call.err = err};
    ks_status st = ks_token_make(&config, &token, err);

    if (!ks_ok(st))
        return st;
    op.call.token = token;
    st = ks_op_run_direct(&op);
    for (size_t i = 0; ks_ok(st) && i < listing.count; i++)
        if (!visit(arg, &listing.all[i].facts, listing.all[i].unread ? &listing.all[i].err : NULL))
            break;
    free(listing.all);
    ks_token_free(token);
    return st;
}

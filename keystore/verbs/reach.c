/* SPDX-License-Identifier: Apache-2.0
 *
 * reach.c - connecting to a token for somebody who asks for it, and seeing whether it is the one
 * that is meant.
 */
#include "../op/worker.h"
#include "../token/connect.h"
#include "single.h"

static ks_status connect_step(struct ks_op *op, CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                              CK_OBJECT_HANDLE key)
{
    (void)op;
    (void)fn;
    (void)session;
    (void)key;
    return KS_SUCCESS; /* the session was what was wanted */
}

ks_status ks_single_connect(struct ks_token *token, const struct ks_call_options *opts,
                            struct ks_error *err)
{
    struct ks_op op = {
        .call.token = token, .step = connect_step, .call.opts = opts, .call.err = err};
    struct ks_token_facts facts;
    ks_status st;

    if (ks_token_is_up(token))
        return KS_SUCCESS;
    if (token->timeout_ns == 0 && !ks_worker_needed())
        return ks_token_reconnect(token, opts, err);
    /* With a time limit, or on a stack that is too small, a worker connects. A person can only be
     * asked for the PIN on this thread, and takes as long as it takes: then the worker only finds
     * out whether the token answers. */
    if (opts == NULL || opts->prompt == NULL || token->pin == NULL || !ks_pin_asks(token->pin))
        return ks_op_run_direct(&op); /* the operation that follows counts it */
    st = ks_single_facts(token, opts, &facts, err);
    return ks_ok(st) ? ks_token_reconnect(token, opts, err) : st;
}

ks_status ks_token_connect(struct ks_token *token, const struct ks_call_options *opts,
                           struct ks_error *err)
{
    return token->kind->connect(token, opts, err);
}

void ks_token_preload_pin(struct ks_token *token, const struct ks_call_options *opts)
{
    token->kind->preload_pin(token, opts);
}

bool ks_token_started(const struct ks_token *token)
{
    return token->kind->started(token);
}

ks_status ks_token_matches(struct ks_token *token, const struct ks_call_options *opts,
                           const struct ks_uri *uri, struct ks_error *err)
{
    struct ks_token_facts facts;
    char text[512];
    ks_status st;

    if (uri == NULL)
        return KS_SUCCESS;
    /* Connect (with login) first: the caller will need it, and the slots are scanned once only. The
     * facts stay valid even if another thread finds the sessions lost meanwhile. */
    st = ks_token_connect(token, opts, err);
    if (ks_ok(st))
        st = token->kind->known_facts(token, opts, &facts, err);
    if (!ks_ok(st) || ks_uri_matches_facts(uri, &facts))
        return st;
    return ks_fail_token(err, token, KS_TOKEN_NOT_FOUND,
                         "%s names another token than the configured one",
                         ks_escape(text, sizeof(text), uri->text, SIZE_MAX));
}

ks_status ks_op_reach(struct ks_op *op, const struct ks_uri *uri)
{
    ks_status st;

    ks_measure_begin(&op->measure);
    st = ks_token_matches(op->call.token, op->call.opts, uri, op->call.err);
    if (!ks_ok(st) && !ks_token_is_up(op->call.token))
        ks_account_end(op, st);
    return st;
}

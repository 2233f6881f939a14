/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_token.c - any bytes as the answers of a token: each code, number, length (also beyond the
 * room), handle and byte that the module gives. A byte of 0, and whatever comes after the input, is
 * the answer of a healthy token, so that short inputs get far. The first byte says what is asked.
 *
 * The module's functions are set as those of a module that is loaded already; nothing is opened.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../keystore/token/answer.h"
#include "../../keystore/token/key.h"
#include "fuzz.h"

#define MODULUS  256U
#define CANARY   0xc5
#define SESSIONS 16U
#define LABEL    "fuzz"
#define SECRET   77UL /* the handle of derived keys */

static const uint8_t *input;
static size_t left;
static bool open_sessions[SESSIONS], searching, secret_there;
static CK_ULONG to_find;

/* Replace nanosleep(), so that pauses cost no time. */
int nanosleep(const struct timespec *pause, struct timespec *rest)
{
    (void)pause;
    (void)rest;
    return 0;
}

/* --- answers --------------------------------------------------------------------------------- */

static uint8_t next(void)
{
    if (left == 0)
        return 0;
    left--;
    return *input++;
}

static CK_RV code(void)
{
    static const CK_RV codes[] = {
        CKR_GENERAL_ERROR,      CKR_FUNCTION_FAILED,         CKR_ARGUMENTS_BAD,
        CKR_BUFFER_TOO_SMALL,   CKR_ATTRIBUTE_SENSITIVE,     CKR_ATTRIBUTE_TYPE_INVALID,
        CKR_DEVICE_ERROR,       CKR_DEVICE_REMOVED,          CKR_SESSION_HANDLE_INVALID,
        CKR_SESSION_CLOSED,     CKR_SESSION_COUNT,           CKR_KEY_HANDLE_INVALID,
        CKR_USER_NOT_LOGGED_IN, CKR_PIN_INCORRECT,           CKR_USER_ALREADY_LOGGED_IN,
        CKR_MECHANISM_INVALID,  CKR_MECHANISM_PARAM_INVALID, CKR_DATA_LEN_RANGE,
        CKR_OPERATION_ACTIVE,   CKR_TOKEN_NOT_PRESENT,       CKR_TEMPLATE_INCONSISTENT,
        CKR_HOST_MEMORY,        CKR_VENDOR_DEFINED | 5,      CKR_CRYPTOKI_NOT_INITIALIZED,
    };
    uint8_t b = next();
    CK_RV rv = b < 0xe0 ? CKR_OK : codes[b % (sizeof(codes) / sizeof(codes[0]))];

    if (rv == CKR_SESSION_HANDLE_INVALID || rv == CKR_SESSION_CLOSED)
        secret_there = false; /* it went with its session, which nobody has to close now */
    return rv;
}

static CK_ULONG number(CK_ULONG honest, CK_ULONG room)
{
    const CK_ULONG odd[] = {
        honest, 0,         room + 1, room + 100000, ~0UL, 1UL << 40, ~0UL / sizeof(CK_ULONG) + 2,
        room,   room >> 1, 1,        4096,          4097, ~0UL - 1,  honest + 1,
    };
    uint8_t b = next();

    return b < sizeof(odd) / sizeof(odd[0]) ? odd[b] : honest;
}

/* Write as many of `len` bytes as fit: the right ones, or bytes of the input. */
static void fill(void *out, CK_ULONG room, CK_ULONG len, const void *honest, CK_ULONG honest_len)
{
    CK_ULONG n = len < room ? len : room;
    uint8_t opts = next(), *p = out;

    if (opts == 0xff || out == NULL) /* nothing at all */
        return;
    for (CK_ULONG i = 0; i < n; i++)
        p[i] = opts < 0x80 ? (i < honest_len ? ((const uint8_t *)honest)[i] : 7) : next();
}

static CK_RV output(CK_BYTE *out, CK_ULONG *len, CK_ULONG honest)
{
    CK_ULONG room = *len;

    *len = number(honest, room);
    fill(out, room, *len, "\1", 1);
    return code();
}

/* --- functions ------------------------------------------------------------------------------- */

static CK_RV initialize(void *args)
{
    (void)args;
    return CKR_OK;
}

static CK_RV get_info(CK_INFO *info)
{
    fill(info, sizeof(*info), sizeof(*info), "", 0);
    return code();
}

static CK_RV list(CK_ULONG *out, CK_ULONG *count, CK_ULONG honest)
{
    CK_ULONG room = out != NULL ? *count : 0;

    *count = number(honest, room);
    for (CK_ULONG i = 0; i < *count && i < room; i++)
        out[i] = i;
    return code();
}

static CK_RV get_slot_list(CK_BBOOL present, CK_SLOT_ID *slots, CK_ULONG *count)
{
    (void)present;
    return list(slots, count, 1);
}

static CK_RV get_mechanism_list(CK_SLOT_ID slot, CK_MECHANISM_TYPE *types, CK_ULONG *count)
{
    (void)slot;
    return list(types, count, 20); /* RSA's among them */
}

static CK_RV get_mechanism_info(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info)
{
    (void)slot;
    (void)type;
    info->ulMinKeySize = number(1024, 4096);
    info->ulMaxKeySize = number(4096, 1024);
    return code();
}

static CK_RV get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    static const CK_FLAGS honest =
        CKF_TOKEN_INITIALIZED | CKF_LOGIN_REQUIRED | CKF_USER_PIN_INITIALIZED;

    fill(info, sizeof(*info), sizeof(*info), "", 0);
    info->ulMaxSessionCount = number(0, 1);
    info->flags = honest ^ next();
    /* no PIN pad, or the login would be repeated without end */
    info->flags &= ~(CK_FLAGS)CKF_PROTECTED_AUTHENTICATION_PATH;
    return slot == 0 || next() != 0 ? code() : CKR_TOKEN_NOT_PRESENT;
}

static CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, void *application, CK_NOTIFY notify,
                          CK_SESSION_HANDLE *session)
{
    CK_RV rv = code();
    unsigned i = 0;

    (void)slot;
    (void)flags;
    (void)application;
    (void)notify;
    if (rv != CKR_OK)
        return rv;
    if (next() == 0xff) {
        *session = CK_INVALID_HANDLE;
        return CKR_OK;
    }
    while (i < SESSIONS && open_sessions[i])
        i++;
    if (i == SESSIONS)
        return CKR_SESSION_COUNT;
    open_sessions[i] = true;
    *session = i + 1;
    return CKR_OK;
}

static CK_RV close_session(CK_SESSION_HANDLE session)
{
    CK_RV rv = code();

    if (session == 0 || session > SESSIONS || !open_sessions[session - 1])
        abort(); /* never a session that is not open */
    if (rv == CKR_OK || rv == CKR_SESSION_HANDLE_INVALID || rv == CKR_SESSION_CLOSED)
        open_sessions[session - 1] = false;
    searching = false;
    secret_there = false; /* its owner is not looked at */
    return rv;
}

static CK_RV finalize(void *reserved)
{
    (void)reserved;
    if (searching || secret_there)
        abort(); /* left behind */
    memset(open_sessions, 0, sizeof(open_sessions));
    return CKR_OK;
}

static CK_RV get_session_info(CK_SESSION_HANDLE session, CK_SESSION_INFO *info)
{
    (void)session;
    info->state = number(CKS_RO_USER_FUNCTIONS, 0);
    return code();
}

static CK_RV login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR *pin, CK_ULONG len)
{
    (void)session;
    (void)user;
    if (pin == NULL || len == 0)
        abort();
    return code();
}

static CK_RV find_init(CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG count)
{
    CK_RV rv = code();

    (void)session;
    (void)template;
    (void)count;
    if (rv == CKR_OK) {
        if (searching)
            abort();
        searching = true;
        to_find = number(1, 300);
        if (to_find > 300 && to_find < KS_OBJECTS_MAX)
            to_find = 300; /* a hundred thousand are read in their time, which is not ours */
    }
    return rv;
}

static CK_RV find(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *found, CK_ULONG max, CK_ULONG *count)
{
    CK_ULONG n = to_find < max ? to_find : max;

    (void)session;
    for (CK_ULONG i = 0; i < n; i++)
        found[i] = to_find - i + (next() == 0xfe); /* one that was there before */
    to_find -= n;
    *count = number(n, max);
    return code();
}

static CK_RV find_final(CK_SESSION_HANDLE session)
{
    (void)session;
    if (!searching)
        abort();
    searching = false;
    return code();
}

static const struct value {
    CK_ATTRIBUTE_TYPE type;
    CK_ULONG number; /* what is in it */
    CK_ULONG len;
} values[] = {
    {CKA_KEY_TYPE, CKK_RSA, sizeof(CK_ULONG)},
    {CKA_SIGN, 1, 1},
    {CKA_DECRYPT, 1, 1},
    {CKA_DERIVE, 1, 1},
    {CKA_SENSITIVE, 1, 1},
    {CKA_EXTRACTABLE, 0, 1},
    {CKA_ALWAYS_AUTHENTICATE, 0, 1},
    {CKA_LOCAL, 1, 1},
    {CKA_LABEL, 0x7a7a7566UL, 4}, /* LABEL */
    {CKA_ID, 0x3231UL, 2},
    {CKA_MODULUS, 1, MODULUS},
    {CKA_PUBLIC_EXPONENT, 0x010001UL, 3},
    {CKA_EC_PARAMS, 0x2b0306UL, 10},
    {CKA_EC_POINT, 0x044104UL, 67},
    {CKA_VALUE, 1, 32},
};

static void value(CK_ATTRIBUTE *a)
{
    const struct value *row = NULL;
    CK_ULONG room = a->ulValueLen, honest = CK_UNAVAILABLE_INFORMATION, ec = CKK_EC;
    uint8_t opts = next();

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        if (values[i].type == a->type)
            row = &values[i];
    if (row != NULL)
        honest = row->len;
    a->ulValueLen = number(honest, room);
    if (row != NULL && a->pValue != NULL)
        fill(a->pValue, room, a->ulValueLen,
             a->type == CKA_KEY_TYPE && opts > 0x40 ? &ec : &row->number, sizeof(CK_ULONG));
    if (opts == 0xff)
        a->pValue = NULL;
    if (opts == 0xfe)
        a->type = 0;
}

static CK_RV get_attribute_value(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                                 CK_ATTRIBUTE *template, CK_ULONG count)
{
    (void)session;
    (void)object;
    for (CK_ULONG i = 0; i < count; i++)
        value(&template[i]);
    return code();
}

static CK_RV operation_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism,
                            CK_OBJECT_HANDLE key)
{
    (void)session;
    (void)mechanism;
    if (key == CK_INVALID_HANDLE)
        abort();
    return code();
}

static CK_RV sign(CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_len, CK_BYTE *out,
                  CK_ULONG *out_len)
{
    (void)session;
    (void)in;
    (void)in_len;
    return output(out, out_len, *out_len);
}

static CK_RV derive(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE base,
                    CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *key)
{
    CK_RV rv = code();

    (void)session;
    (void)mechanism;
    (void)base;
    (void)template;
    (void)count;
    if (rv == CKR_OK) {
        secret_there = true;
        *key = next() == 0xff ? CK_INVALID_HANDLE : SECRET;
    }
    return rv;
}

static CK_RV destroy(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object)
{
    CK_RV rv = code();

    (void)session;
    if (object == CK_INVALID_HANDLE)
        abort();
    if (object == SECRET && rv == CKR_OK)
        secret_there = false;
    return rv;
}

static CK_RV generate_pair(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *pub,
                           CK_ULONG pub_count, CK_ATTRIBUTE *priv, CK_ULONG priv_count,
                           CK_OBJECT_HANDLE *pub_key, CK_OBJECT_HANDLE *priv_key)
{
    (void)session;
    (void)mechanism;
    (void)pub;
    (void)pub_count;
    (void)priv;
    (void)priv_count;
    *pub_key = number(1, 0);
    *priv_key = number(2, 0);
    return code();
}

static CK_RV generate_random(CK_SESSION_HANDLE session, CK_BYTE *out, CK_ULONG len)
{
    (void)session;
    fill(out, len, len, "\1", 1);
    return code();
}

static CK_FUNCTION_LIST functions = {
    .version = {2, 40},
    .C_Initialize = initialize,
    .C_Finalize = finalize,
    .C_GetInfo = get_info,
    .C_GetSlotList = get_slot_list,
    .C_GetTokenInfo = get_token_info,
    .C_GetMechanismList = get_mechanism_list,
    .C_GetMechanismInfo = get_mechanism_info,
    .C_OpenSession = open_session,
    .C_CloseSession = close_session,
    .C_GetSessionInfo = get_session_info,
    .C_Login = login,
    .C_GetAttributeValue = get_attribute_value,
    .C_FindObjectsInit = find_init,
    .C_FindObjects = find,
    .C_FindObjectsFinal = find_final,
    .C_SignInit = operation_init,
    .C_Sign = sign,
    .C_DecryptInit = operation_init,
    .C_Decrypt = sign,
    .C_DeriveKey = derive,
    .C_DestroyObject = destroy,
    .C_GenerateKeyPair = generate_pair,
    .C_GenerateRandom = generate_random,
};

/* --- what is asked --------------------------------------------------------------------------- */

static uint8_t out[MODULUS + 64];

/* Check that an output is within its room, and is wiped after a failure. */
static void judge(ks_status st, size_t room, size_t len)
{
    if (ks_ok(st) && len > room)
        abort();
    for (size_t i = 0; i < sizeof(out); i++)
        if (i >= room ? out[i] != CANARY : !ks_ok(st) && out[i] != 0 && out[i] != CANARY)
            abort();
}

static bool visit(void *arg, const struct ks_object *o)
{
    struct ks_error err;
    char uri[512];

    (void)arg;
    (void)ks_ok(ks_object_uri(o, NULL, KS_URI_DETAIL_REFERENCE, uri, sizeof(uri), &err));
    return true;
}

static void use_key(struct ks_token *token, struct ks_key *key, unsigned what)
{
    static const enum ks_mech_kind kinds[] = {KS_MECH_RSA_PKCS1, KS_MECH_RSA_PSS, KS_MECH_RSA_OAEP,
                                              KS_MECH_RSA_RAW,   KS_MECH_ECDSA,   KS_MECH_EDDSA};
    static const uint8_t in[MODULUS] = {1}, peer[65] = {4};
    const struct ks_mech mech = {
        .kind = kinds[what % 6], .digest = KS_DIGEST_SHA256, .mgf1 = KS_DIGEST_SHA256};
    const struct ks_expect expect = {.public_part = in, .public_len = sizeof(in)};
    size_t room = what % 6 >= 4 ? 64 : MODULUS, len = room;
    struct ks_error err;

    (void)token;
    if (what == 0)
        (void)ks_ok(ks_key_expect(key, &expect, &err));
    if (what < 6)
        judge(ks_sign(key, NULL, &mech, in, what == 3 ? sizeof(in) : 32, out, &len, &err), room,
              len);
    else if (what < 10)
        judge(ks_decrypt(key, NULL, &mech, in, sizeof(in), out, &len, &err), room, len);
    else if (what == 10)
        judge(ks_derive(key, NULL, false, peer, sizeof(peer), out, &len, &err), room, len);
    else
        (void)ks_ok(ks_key_destroy(key, NULL, &err));
}

static void ask_for_key(struct ks_token *token, unsigned what)
{
    struct ks_uri *uri = NULL;
    struct ks_key *key = NULL;
    struct ks_error err;

    if (!ks_ok(ks_uri_parse("pkcs11:object=" LABEL, KS_URI_CALLER, &uri, &err)))
        abort();
    if (ks_ok(ks_key_find(token, NULL, uri, &key, &err))) {
        use_key(token, key, what);
        use_key(token, key, what); /* by its handle */
    }
    ks_key_free(key);
    ks_uri_free(uri);
}

static void ask(struct ks_token *token, unsigned what)
{
    const struct ks_generate_spec spec = {
        .type = KS_KEY_RSA, .rsa_bits = 2048, .label = LABEL, .sign = true};
    struct ks_key *key = NULL;
    struct ks_token_facts facts;
    unsigned long min, max;
    struct ks_error err;
    size_t room;
    bool can;

    switch (what) {
    case 0:
        (void)ks_ok(ks_token_facts(token, NULL, &facts, &err));
        (void)ks_ok(ks_token_can(token, NULL, KS_MECH_RSA_PSS, &can, &err));
        (void)ks_ok(ks_token_key_sizes(token, NULL, KS_MECH_RSA_KEYGEN, &min, &max, &err));
        break;
    case 1:
        (void)ks_ok(ks_token_objects(token, NULL, NULL, visit, NULL, &err));
        break;
    case 2:
        if (ks_ok(ks_generate(token, NULL, &spec, &key, &err)))
            ks_key_free(key);
        break;
    case 3:
        room = 1U + next() % MODULUS;
        judge(ks_random(token, NULL, out, room, &err), room, room);
        break;
    default:
        ask_for_key(token, what - 4);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* a new PIN each time, as a PIN that was refused is never sent again */
    static unsigned long pin;
    struct ks_token_config config = {
        .name = "fuzz", .module = "/nowhere/fuzz.so", .pin = "env:HSM_FUZZ_PIN"};
    struct ks_token *token = NULL;
    struct ks_error err;
    char text[32];

    if (size == 0 || size > 4096)
        return 0;
    snprintf(text, sizeof(text), "%lu", ++pin);
    setenv("HSM_FUZZ_PIN", text, 1);
    input = data + 1;
    left = size - 1;
    memset(out, CANARY, sizeof(out));
    if (!ks_ok(ks_token_new(&config, &token, &err)))
        abort();
    token->module->fn = &functions;
    ask(token, data[0] % 16);
    ks_token_free(token); /* the module's last: it is finalised */
    return 0;
}

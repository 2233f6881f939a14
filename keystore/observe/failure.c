/* SPDX-License-Identifier: Apache-2.0
 *
 * failure.c - what a failed operation is called in the statistics and in the log.
 */
#include <stdio.h>
#include <string.h>

#include "../base/error.h"
#include "stats.h"

const char *const ks_op_class_names[KS_OP_CLASSES] = {
    [KS_OP_OTHER] = "other",       [KS_OP_SIGN] = "sign",     [KS_OP_DECRYPT] = "decrypt",
    [KS_OP_DERIVE] = "derive",     [KS_OP_RANDOM] = "random", [KS_OP_FIND] = "find",
    [KS_OP_GENERATE] = "generate",
};

/* Names of the statuses without a CKR_ code. */
static const char *const code_names[] = {
#define KS_STATUS(name, text) [KS_##name] = #name,
#include "../base/status.def"
#undef KS_STATUS
};

bool ks_counts_as_done(enum ks_operation class, ks_status st)
{
    return ks_ok(st) || (class == KS_OP_DECRYPT && st.code == KS_DATA);
}

static const char *rv_name(CK_RV rv, char *room, size_t size)
{
    const char *name = ks_rv_name(rv);

    if (rv < CKR_VENDOR_DEFINED && strncmp(name, "CKR_", 4) == 0)
        return name;
    snprintf(room, size, "0x%lx", (unsigned long)rv);
    return room;
}

const char *ks_failure_name(CK_RV rv, ks_status st, char *room, size_t size)
{
    return rv != CKR_OK ? rv_name(rv, room, size) : code_names[st.code];
}

/* ks_failure.what: the class from bit 48 on, the CK_RV, and: */
#define WHAT_STATUS ((uint64_t)1 << 40) /* the low half is a ks_code and not a CK_RV */
#define WHAT_USED   ((uint64_t)1 << 41)

uint64_t ks_failure_what(enum ks_operation class, CK_RV rv, ks_status st)
{
    return WHAT_USED | (uint64_t) class << 48 |
           (rv != CKR_OK ? (uint64_t)(rv & 0xffffffffU) : WHAT_STATUS | st.code);
}

enum ks_operation ks_failure_class(uint64_t what)
{
    return (enum ks_operation)(what >> 48);
}

const char *ks_failure_text(uint64_t what, char *room, size_t size)
{
    if (what & WHAT_STATUS)
        return code_names[what & 0xff];
    return rv_name((CK_RV)(what & 0xffffffffU), room, size);
}

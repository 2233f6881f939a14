/* SPDX-License-Identifier: Apache-2.0
 *
 * recovery_doc.c - prints docs/recovery.md from the keystore's own tables; scripts/recovery-doc.sh.
 */
#include <stdio.h>

#include "../../keystore/op/recovery.h"
#include "../../keystore/token/reconnect.h"

static const char *const fates[] = {
    [KS_SESSION_KEEP] = "used again, unless an operation may still be active in it",
    [KS_SESSION_CLOSE] = "closed",
    [KS_SESSION_GONE] = "forgotten: it is gone",
};

static const char *const remedies[KS_REMEDIES] = {
    [KS_REMEDY_NONE] = "nothing",
    [KS_REMEDY_LOG_IN] = "log in again in the same session",
    [KS_REMEDY_FIND_KEY] = "find the key again",
    [KS_REMEDY_RECONNECT] = "reconnect the token",
};

static const char *const outcomes[KS_OUTCOMES] = {
    [KS_OUTCOME_CONNECTED] = "connected",
    [KS_OUTCOME_LOGIN_UNCLEAR] = "login unclear: `C_Login` failed with a code that need not mean a "
                                 "wrong PIN",
    [KS_OUTCOME_DEVICE_LOST] = "device lost",
    [KS_OUTCOME_TOKEN_MISSING] =
        "token missing: it was here before, and is not seen, or half of it",
    [KS_OUTCOME_HALF_WRITTEN] = "half written: not seen, or without its PIN",
    [KS_OUTCOME_FAILED] = "anything else",
};

static const char *const states[KS_RECONNECT_STATES] = {
    [KS_RECONNECT_PAUSE] = "back off, then reinitialise the module at once",
    [KS_RECONNECT_PAUSE_IF_DUE] = "back off, then reinitialise if `recover-interval-ms` allows it",
    [KS_RECONNECT_WAIT_INTERVAL] = "wait for the rest of `recover-interval-ms`, then reinitialise",
    [KS_RECONNECT_DONE] = "done",
    [KS_RECONNECT_GIVE_UP] = "give up",
};

static void failures(void)
{
    puts("## A failed operation\n\n"
         "`keystore/base/status.def` says which class a `CKR_` code belongs to, "
         "`keystore/op/recovery.c` what is done about the class, and `keystore/op/try.c` does it. "
         "Pauses double, and none of them passes the deadline of the operation.\n\n"
         "| Class | Means | Tried again | First pause | Before that | The session is |\n"
         "|---|---|---|---|---|---|");
    for (size_t i = 0; i < KS_RECOVERIES; i++) {
        const struct ks_recovery_row *row = &ks_recovery_rows[i];

        printf("| %s | %s | %u times | ", row->name, row->meaning, row->retries);
        if (row->pause_ns != 0)
            printf("%lu ms", (unsigned long)(row->pause_ns / 1000000));
        else
            printf("none");
        printf(" | %s | %s |\n", remedies[row->remedy], fates[row->fate]);
    }
}

static void codes(void)
{
    static const struct {
        const char *name;
        unsigned long rv;
    } all[] = {
#define KS_RV(name, value, status, class) {#name, value},
#include "../../keystore/base/status.def"
#undef KS_RV
    };
    enum ks_recovery recovery;
    enum ks_code code;

    puts("\nThe codes of each class, where the function that gives them makes no difference "
         "(`exceptions` in `keystore/base/status.c` has those where it does):\n");
    for (int c = KS_PERMANENT + 1; c < KS_RECOVERIES; c++) {
        const char *before = "";

        printf("- %s: ", ks_recovery_rows[c].name);
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
            ks_classify(KS_NO_FUNCTION, all[i].rv, &code, &recovery);
            if ((int)recovery == c) {
                printf("%s`%s`", before, all[i].name);
                before = ", ";
            }
        }
        puts(c == KS_AMBIGUOUS ? "; and codes that PKCS#11 does not know" : "");
    }
    puts("- permanent: all others");
}

/* The state after `outcome`, as long as it stays the same while the module is reinitialised. */
static void reconnects(bool just_loaded)
{
    for (int outcome = 0; outcome < KS_OUTCOMES; outcome++)
        for (int retried = 0; retried < 2; retried++) {
            if (outcome != KS_OUTCOME_LOGIN_UNCLEAR && retried == 1)
                continue;
            for (unsigned from = 0, n = 0; from < KS_REINITS_JUST_LOADED + 1; from = n) {
                struct ks_reconnect r = {just_loaded, retried == 1, from};
                enum ks_reconnect_state next = ks_reconnect_next(&r, outcome);

                for (n = from; n < KS_REINITS_JUST_LOADED + 1; n++) {
                    r.reinits = n;
                    if (ks_reconnect_next(&r, outcome) != next)
                        break;
                }
                printf("| %s%s | %s | ", outcomes[outcome], retried ? "; the second time" : "",
                       just_loaded ? "yes" : "no");
                if (from == 0 && n > KS_REINITS_JUST_LOADED)
                    printf("any");
                else if (n > KS_REINITS_JUST_LOADED)
                    printf("%u or more", from);
                else if (from + 1 == n)
                    printf("%u", from);
                else
                    printf("%u to %u", from, n - 1);
                printf(" | %s |\n", states[next]);
            }
        }
}

int main(void)
{
    puts(
        "<!-- Written by scripts/recovery-doc.sh from the keystore's tables: change these. -->\n"
        "# What happens after a failure\n\n"
        "Two tables decide it. The first is about an operation that failed; one of its remedies is "
        "to reconnect the token, which the second is about.\n");
    failures();
    codes();
    puts(
        "\n## A token that is to be reconnected\n\n"
        "One thread does it, the others wait for it, within their deadline. It opens a session and "
        "logs in, in the module as it is, three times at most if the error is transient. What it "
        "does next depends on what came of that, on whether it has itself loaded the module just "
        "now, and on how often the module was reinitialised in this reconnect. "
        "`keystore/token/reconnect.c` has the table, `keystore/token/connect.c` acts on it.\n\n"
        "| What came of connecting | Module just loaded | Reinitialised so far | What is done |\n"
        "|---|---|---|---|");
    reconnects(false);
    reconnects(true);
    puts(
        "\n*Reinitialise* means `C_Finalize` and `C_Initialize`. It disturbs the module's other "
        "tokens, so it comes at most once in `recover-interval-ms`, and that interval doubles, six "
        "times at most, each time that it was in vain while another token of the module serves. "
        "An operation that has no deadline waits one second for the interval to end, and only for "
        "a token that has served since the module was last initialised. Pauses begin with 20 ms, "
        "double, and are not the same in two processes that failed at the same moment.");
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * policy_doc.c - prints docs/policy.md, made of the rows that test_policy_table.c runs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy_table.h"

static const char head[] =
    "# What runs where\n\n"
    "<!-- Made by scripts/policy-doc.sh of tests/unit/policy_table.h: do not edit. -->\n\n"
    "Each row is a test: tests/unit/test_policy_table.c carries it out through libcrypto's EVP "
    "functions, and\nlooks at the PKCS#11 module whether the private operation happened there. "
    "*HSM*: it did, and the result is\nright. *software*: it needs the public half only, and the "
    "module was asked for no private operation.\n*refused*: there is an error that says what "
    "stands there, no result, no private operation in the module,\nand nothing left behind on the "
    "token.\n\n"
    "*Asked* is the property query; *first* means that the provider `hsm` stands before `default`, "
    "without a query.\n`hsmkey policy` shows the same for a token that is configured.\n\n"
    "| Key | Operation | Padding | Asked | `offload` | The token lacks | Outcome |\n"
    "|---|---|---|---|---|---|---|\n";

static void print_cell(const char *text, const char *quote)
{
    if (text[0] == '\0')
        printf(" |");
    else
        printf(" %s%s%s |", quote, text, quote);
}

static void print_row(const struct policy_row *row)
{
    putchar('|');
    print_cell(row->key, "");
    print_cell(row->operation, "");
    print_cell(row->padding, "");
    print_cell(row->asked, strcmp(row->asked, "first") == 0 ? "" : "`");
    print_cell(row->offload, "`");
    print_cell(row->lacks, "");
    switch (row->outcome) {
    case ON_HSM:
        print_cell("HSM", "**");
        break;
    case IN_SOFTWARE:
        print_cell("software (public part)", "");
        break;
    case REFUSED:
        printf(" refused: %s |", row->reason);
        break;
    }
    putchar('\n');
}

int main(void)
{
    size_t i;

    fputs(head, stdout);
    for (i = 0; i < POLICY_ROWS; i++)
        print_row(&policy_table[i]);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

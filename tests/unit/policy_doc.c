/* SPDX-License-Identifier: Apache-2.0
 *
 * policy_doc.c - prints docs/policy.md, made of the rows that test_policy_table.c runs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "generation_table.h"
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

static const char generation_head[] =
    "\n## Where a new key is made\n\n"
    "Every way in which a program can have a key made. tests/unit/test_generation.c carries out "
    "each row.\n*HSM*: the token made it. *refused*: there is an error that says what stands "
    "there, and no key.\n*software*: nobody asked for the HSM, and all is as without the "
    "provider. **Not asked**: the HSM was\nasked for, and libcrypto calls nothing of this "
    "provider: a software key is made, and nothing here can\nprevent it. The test shows that the "
    "context of the generation is another provider's before the key is\nmade. `hsmkey policy` "
    "lists these ways.\n\n"
    "| Way | Key | Asked | Outcome |\n|---|---|---|---|\n";

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

/* `words` of generation_asked, in words. */
static void print_asked(const char *words)
{
    char copy[100], *rest = copy, *word;
    const char *between = " ";
    size_t i;

    snprintf(copy, sizeof(copy), "%s", words);
    while ((word = strsep(&rest, " ")) != NULL) {
        for (i = 0; i < GENERATION_ASKED; i++) {
            if (strcmp(generation_asked[i].word, word) != 0)
                continue;
            printf("%s%s", between, generation_asked[i].in_words);
            between = "; ";
        }
    }
    printf(" |");
}

static void print_generation(const struct generation_row *row)
{
    putchar('|');
    print_cell(row->way, "");
    print_cell(row->keys, "");
    print_asked(row->asked);
    switch (row->outcome) {
    case MADE_ON_HSM:
        print_cell("HSM", "**");
        break;
    case MADE_SOFTWARE:
        print_cell("software", "");
        break;
    case MADE_NOWHERE:
        printf(" refused: %s |", row->reason);
        break;
    case NOT_ASKED:
        printf(" **not asked**: %s |", row->reason);
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
    fputs(generation_head, stdout);
    for (i = 0; i < GENERATION_ROWS; i++)
        print_generation(&generation_table[i]);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

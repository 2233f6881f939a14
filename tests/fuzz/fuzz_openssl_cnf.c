/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_openssl_cnf.c - any text as openssl.cnf: the two readers of it, the provider's and hsmkey's,
 * and the values that they find. What one finds the other finds as well.
 */
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "../../tools/cmd.h"
#include "fuzz.h"

/* Files that the text includes are not what this is about, and could be anything. libcrypto drops
 * backslashes and line ends before it looks at a line's first word. */
static bool includes(const uint8_t *data, size_t size)
{
    static const char word[] = "include";
    size_t at = 0;

    for (size_t i = 0; i < size; i++) {
        if (data[i] == '\\' || data[i] == '\r' || data[i] == '\n')
            continue;
        at = data[i] == (uint8_t)word[at] ? at + 1 : data[i] == 'i';
        if (word[at] == '\0')
            return true;
    }
    return false;
}

static const char *value(void *arg, const char *key)
{
    return cmd_config_get(arg, key);
}

static void read_section(struct cmd_config *config)
{
    struct prov_config parsed;
    struct ks_token *token;
    char why[1024] = "";

    if (prov_config_parse(&parsed, value, config, why, sizeof(why))) {
        token = prov_config_token(PROV_NAME, &parsed, value, config, why, sizeof(why));
        if (token == NULL)
            fuzz_must_explain(why);
        ks_token_free(token);
    } else {
        fuzz_must_explain(why);
    }
    prov_config_clear(&parsed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[1024] = "", tool_why[1024] = "";
    struct cmd_config config;
    const char *path;
    bool loaded;
    int checked;

    if (includes(data, size))
        return 0;
    path = fuzz_file(data, size);
    checked = prov_config_check_file(path, PROV_NAME, why, sizeof(why));
    if (checked != 1)
        fuzz_must_explain(why);
    loaded = cmd_config_load(&config, path, tool_why, sizeof(tool_why));
    if (!loaded)
        fuzz_must_explain(tool_why);
    if (ERR_peek_error() != 0)
        abort();
    if (loaded && config.section != NULL) {
        if (checked == -1)
            abort(); /* hsmkey has found the section */
        read_section(&config);
    }
    cmd_config_clear(&config);
    return 0;
}

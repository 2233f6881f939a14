/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_uri.c - any text as a PKCS#11 URI, for each use.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../../keystore/keystore.h"
#include "fuzz.h"

/* Is there such an attribute? By hand, so that p11-kit and we cannot be wrong together. */
static bool has(const char *text, const char *name)
{
    const char *p = strchr(text, ':');
    char separator = ';';

    while (p != NULL && *p != '\0') {
        p++;
        if (strncmp(p, name, strlen(name)) == 0 && p[strlen(name)] == '=')
            return true;
        p += strcspn(p, separator == ';' ? ";?" : "&");
        if (*p == '?')
            separator = '&';
    }
    return false;
}

static void check_accepted(const struct ks_uri *uri, enum ks_uri_use use, const char *text)
{
    static const char *const never[] = {"pin-value", "module-path", "module-name", "slot-id"};
    size_t i;

    if ((use == KS_URI_REFERENCE || use == KS_URI_FOREIGN) && !ks_uri_names_object(uri))
        abort();
    if (use == KS_URI_TOKEN && ks_uri_names_object(uri))
        abort();
    for (i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
        if (has(text, never[i]))
            abort();
    }
    if (has(text, "pin-source") != (ks_uri_pin_source(uri) != NULL))
        abort();
    if (use != KS_URI_CALLER && has(text, "pin-source"))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum ks_uri_use uses[] = {KS_URI_TOKEN, KS_URI_REFERENCE, KS_URI_FOREIGN,
                                           KS_URI_CALLER};
    char *text = malloc(size + 1);
    size_t i;

    if (text == NULL)
        abort();
    memcpy(text, data, size);
    text[size] = '\0';
    for (i = 0; i < sizeof(uses) / sizeof(uses[0]); i++) {
        struct ks_uri *uri = NULL;
        struct ks_error err = {0};

        if (ks_ok(ks_uri_parse(text, uses[i], &uri, &err)))
            check_accepted(uri, uses[i], text);
        else if (uri != NULL || err.code == KS_OK || err.text[0] == '\0')
            abort();
        ks_uri_free(uri);
    }
    free(text);
    return 0;
}

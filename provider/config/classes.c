/* SPDX-License-Identifier: Apache-2.0
 *
 * classes.c - the operation classes, and what the configuration says of them.
 */
#include <stdio.h>
#include <string.h>

#include "config.h"

#define BIT(class) (1U << (unsigned)(class))

const char *const prov_class_names[PROV_CLASSES] = {
    [PROV_CLASS_RSA_SIGN] = "rsa-sign",   [PROV_CLASS_RSA_OAEP] = "rsa-oaep",
    [PROV_CLASS_RSA_PKCS1] = "rsa-pkcs1", [PROV_CLASS_RSA_TLS] = "rsa-tls",
    [PROV_CLASS_EC_SIGN] = "ec-sign",     [PROV_CLASS_EC_DERIVE] = "ec-derive",
    [PROV_CLASS_ED_SIGN] = "ed-sign",     [PROV_CLASS_KEYGEN] = "keygen",
    [PROV_CLASS_RAND] = "rand",
};

static const unsigned all_classes = (BIT(PROV_CLASSES) - 1U) & ~BIT(PROV_CLASS_RSA_TLS);

static const unsigned default_classes = (BIT(PROV_CLASSES) - 1U) & ~BIT(PROV_CLASS_RSA_TLS) &
                                        ~BIT(PROV_CLASS_KEYGEN) & ~BIT(PROV_CLASS_RAND);

static const char separators[] = " \t,";

/* What has been read of an `offload` line so far. */
struct line {
    bool all;
    unsigned plus;  /* listed by name */
    unsigned minus; /* taken away by name */
};

static int class_by_name(const char *word, size_t len, enum prov_operation *class)
{
    unsigned i;

    for (i = 0; i < PROV_CLASSES; i++) {
        if (strlen(prov_class_names[i]) == len && memcmp(prov_class_names[i], word, len) == 0) {
            *class = (enum prov_operation)i;
            return 1;
        }
    }
    return 0;
}

/* Takes one word of the line; on a bad one leaves the sentence in `why`. */
static int take_word(struct line *line, const char *word, size_t len, char *why, size_t why_size)
{
    char shown[64];
    bool minus = word[0] == '-';
    enum prov_operation class;
    unsigned bit;

    ks_escape(shown, sizeof(shown), word, len);
    if (len == 3 && memcmp(word, "all", 3) == 0) {
        line->all = true;
        return 1;
    }
    if (!class_by_name(word + minus, len - minus, &class)) {
        snprintf(why, why_size,
                 "offload: unknown operation class \"%s\" (there are rsa-sign rsa-oaep rsa-pkcs1 "
                 "rsa-tls ec-sign ec-derive ed-sign keygen rand, and all)",
                 shown);
        return 0;
    }
    bit = BIT(class);
    if (minus && !line->all) {
        snprintf(why, why_size, "offload: \"%s\" is allowed only after \"all\"", shown);
        return 0;
    }
    if ((minus ? line->plus : line->minus) & bit) {
        snprintf(why, why_size, "offload: \"%s\" is both listed and taken away",
                 prov_class_names[class]);
        return 0;
    }
    if (minus)
        line->minus |= bit;
    else
        line->plus |= bit;
    return 1;
}

int prov_policy_parse(const char *value, unsigned *classes, char *why, size_t why_size)
{
    struct line line = {0};
    const char *p;
    size_t len;

    if (value == NULL) {
        *classes = default_classes;
        return 1;
    }
    p = value + strspn(value, separators);
    if (*p == '\0') {
        snprintf(why, why_size,
                 "offload is empty: list operation classes, or leave the line out for the default");
        return 0;
    }
    while (*p != '\0') {
        len = strcspn(p, separators);
        if (!take_word(&line, p, len, why, why_size))
            return 0;
        p += len;
        p += strspn(p, separators);
    }
    *classes = ((line.all ? all_classes : 0U) | line.plus) & ~line.minus;
    return 1;
}

const char *prov_policy_line(unsigned offload, enum prov_operation class, char *out, size_t size)
{
    int used = snprintf(out, size, "offload =");
    unsigned i;

    for (i = 0; i < PROV_CLASSES && used > 0 && (size_t)used < size; i++) {
        if ((offload | BIT(class)) & BIT(i))
            used += snprintf(out + used, size - (size_t)used, " %s", prov_class_names[i]);
    }
    return out;
}

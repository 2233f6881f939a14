/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_cluster.c - hsmkey cluster check: do the members of each cluster hold the same keys?
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"

/* A key's public half on one member. */
struct half {
    unsigned found; /* number of keys with this label and id */
    char type[96];
    unsigned char *data; /* NULL: the token does not show it */
    size_t len;
};

/* One key by its label and id, and what each member has under them. */
struct row {
    char *label;
    size_t label_len;
    unsigned char *id;
    size_t id_len;
    struct half halves[KS_GROUP_MAX];
    unsigned missing, differs, twice, unsaid; /* bit i: member i */
};

struct matrix {
    struct cmd_env *env;
    const struct cmd_target *target;
    struct row *rows;
    size_t count, room, member;
    unsigned lost; /* bit i: member i cannot be reached */
    char why[KS_GROUP_MAX][sizeof(((struct ks_error *)NULL)->text)];
    bool failed; /* out of memory */
};

static bool same(const void *a, size_t a_len, const void *b, size_t b_len)
{
    return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

/* --- what there is --------------------------------------------------------------------------- */

/* The row of the key with this label and id; it is added if it is missing. NULL: out of memory. */
static struct row *row_for(struct matrix *matrix, const struct ks_object *object)
{
    struct row *row;
    size_t i;

    for (i = 0; i < matrix->count; i++) {
        row = &matrix->rows[i];
        if (same(row->id, row->id_len, object->id.data, object->id.len) &&
            same(row->label, row->label_len, object->label, object->label_len)) {
            return row;
        }
    }
    if (matrix->count == matrix->room) {
        size_t room = matrix->room * 2 + 16;
        struct row *grown = realloc(matrix->rows, room * sizeof(*grown));

        if (grown == NULL) {
            return NULL;
        }
        matrix->rows = grown;
        matrix->room = room;
    }
    row = &matrix->rows[matrix->count++];
    memset(row, 0, sizeof(*row));
    if (!cmd_copy(&row->label, &row->label_len, object->label, object->label_len) ||
        !cmd_copy(&row->id, &row->id_len, object->id.data, object->id.len)) {
        return NULL;
    }
    return row;
}

/* Copy the public half: exponent and modulus of RSA, the point of others. The type names the
 * curve. */
static bool take_half(struct half *half, const struct ks_object *object)
{
    const struct ks_bytes *part = &object->ec_point, *exponent = &object->exponent;

    cmd_key_type(object, half->type, sizeof(half->type));
    if (object->type != KS_KEY_RSA) {
        return cmd_copy(&half->data, &half->len, part->data, part->len);
    }
    part = &object->modulus;
    if (part->data == NULL || exponent->data == NULL) {
        return true;
    }
    half->len = part->len + exponent->len;
    half->data = malloc(half->len + 1);
    if (half->data == NULL) {
        return false;
    }
    memcpy(half->data, part->data, part->len);
    memcpy(half->data + part->len, exponent->data, exponent->len);
    return true;
}

static bool visit(void *arg, const struct ks_object *object)
{
    struct matrix *matrix = arg;
    struct row *row;

    if (object->klass != KS_CLASS_PRIVATE) {
        return true;
    }
    if (object->trouble != NULL) {
        cmd_error(matrix->env, "%s: a private key could not be read: %s",
                  ks_token_name(matrix->target->members[matrix->member]), object->trouble);
        return true;
    }
    row = row_for(matrix, object);
    if (row == NULL || (row->halves[matrix->member].found++ == 0 &&
                        !take_half(&row->halves[matrix->member], object))) {
        matrix->failed = true;
        return false;
    }
    return true;
}

static void ask_members(struct cmd_env *env, struct matrix *matrix)
{
    struct ks_error err;
    ks_status st;

    matrix->env = env;
    for (matrix->member = 0; matrix->member < matrix->target->count; matrix->member++) {
        struct ks_token *token = matrix->target->members[matrix->member];
        const struct ks_call_options *opts = cmd_call_options(env, ks_token_name(token));

        st = ks_token_connect(token, opts, &err);
        if (ks_ok(st)) {
            st = ks_token_objects(token, opts, NULL, visit, matrix, &err);
        }
        if (!ks_ok(st)) {
            matrix->lost |= 1U << matrix->member;
            snprintf(matrix->why[matrix->member], sizeof(matrix->why[0]), "%s",
                     cmd_without_name(ks_token_name(token), err.text));
        }
    }
}

/* --- whether it is the same ------------------------------------------------------------------ */

/* Compare members with the first one that has the key and shows its public half. */
static void compare(const struct matrix *matrix, struct row *row)
{
    const struct half *model = NULL;
    size_t i;

    for (i = 0; i < matrix->target->count; i++) {
        const struct half *half = &row->halves[i];

        if (half->found > 0 && (model == NULL || (model->data == NULL && half->data != NULL))) {
            model = half;
        }
    }
    for (i = 0; i < matrix->target->count && model != NULL; i++) {
        const struct half *half = &row->halves[i];
        unsigned bit = 1U << i;

        if ((matrix->lost & bit) != 0) {
            continue;
        }
        if (half->found == 0) {
            row->missing |= bit;
        } else if (half->found > 1) {
            row->twice |= bit;
        } else if (strcmp(half->type, model->type) != 0 ||
                   (half->data != NULL && model->data != NULL &&
                    !same(half->data, half->len, model->data, model->len))) {
            row->differs |= bit;
        } else if (half->data == NULL) {
            row->unsaid |= bit;
        }
    }
}

static bool is_bad(const struct row *row)
{
    return (row->missing | row->differs | row->twice) != 0;
}

/* --- output ---------------------------------------------------------------------------------- */

static const char *names(const struct matrix *matrix, unsigned members, char *out, size_t size)
{
    size_t i, len;

    out[0] = '\0';
    for (i = 0; i < matrix->target->count; i++) {
        len = strlen(out);
        if ((members & 1U << i) != 0) {
            snprintf(out + len, size - len, "%s%s", len > 0 ? ", " : "",
                     ks_token_name(matrix->target->members[i]));
        }
    }
    return out;
}

static const char *type_of(const struct row *row)
{
    size_t i;

    for (i = 0; i < KS_GROUP_MAX; i++) {
        if (row->halves[i].found > 0) {
            return row->halves[i].type;
        }
    }
    return "other";
}

static void row_text(const struct matrix *matrix, const struct row *row)
{
    const struct {
        unsigned members;
        const char *what;
    } said[] = {
        {row->missing, "missing on"},
        {row->differs, "another public half on"},
        {row->twice, "more than one on"},
        {row->unsaid, "no public half to compare on"},
    };
    char label[200], id[520], list[600];
    size_t i;

    ks_escape(label, sizeof(label), row->label != NULL ? row->label : "", row->label_len);
    cmd_hex(row->id != NULL ? row->id : (const unsigned char *)"", row->id_len, id, sizeof(id));
    for (i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
        if (said[i].members != 0) {
            printf("%-8s %s: \"%s\", id %s, %s: %s %s\n", i < 3 ? "FAILED" : "warning",
                   matrix->target->name, label, id[0] != '\0' ? id : "-", type_of(row),
                   said[i].what, names(matrix, said[i].members, list, sizeof(list)));
        }
    }
}

static void names_json(struct cmd_json *json, const char *key, const struct matrix *matrix,
                       unsigned members)
{
    size_t i;

    cmd_json_open(json, key, '[');
    for (i = 0; i < matrix->target->count; i++) {
        if ((members & 1U << i) != 0) {
            cmd_json_string(json, NULL, ks_token_name(matrix->target->members[i]));
        }
    }
    cmd_json_close(json, '[');
}

static void row_json(struct cmd_json *json, const struct matrix *matrix, const struct row *row)
{
    size_t size = row->id_len * 3 + 4;
    char *hex = malloc(size);

    cmd_json_open(json, NULL, '{');
    cmd_json_bytes(json, "label", row->label, row->label_len);
    cmd_json_string(json, "id",
                    hex != NULL && row->id != NULL ? cmd_hex(row->id, row->id_len, hex, size)
                                                   : NULL);
    cmd_json_string(json, "type", type_of(row));
    cmd_json_bool(json, "same", !is_bad(row));
    names_json(json, "missing-on", matrix, row->missing);
    names_json(json, "differs-on", matrix, row->differs);
    names_json(json, "ambiguous-on", matrix, row->twice);
    names_json(json, "not-comparable-on", matrix, row->unsaid);
    cmd_json_close(json, '{');
    free(hex);
}

static void matrix_json(struct cmd_json *json, const struct matrix *matrix, bool ok)
{
    size_t i;

    cmd_json_open(json, NULL, '{');
    cmd_json_string(json, "name", matrix->target->name);
    cmd_json_bool(json, "same", ok);
    cmd_json_open(json, "members", '[');
    for (i = 0; i < matrix->target->count; i++) {
        cmd_json_open(json, NULL, '{');
        cmd_json_string(json, "name", ks_token_name(matrix->target->members[i]));
        cmd_json_bool(json, "reachable", (matrix->lost & 1U << i) == 0);
        if ((matrix->lost & 1U << i) != 0) {
            cmd_json_string(json, "error", matrix->why[i]);
        }
        cmd_json_close(json, '{');
    }
    cmd_json_close(json, '[');
    cmd_json_open(json, "keys", '[');
    for (i = 0; i < matrix->count; i++) {
        row_json(json, matrix, &matrix->rows[i]);
    }
    cmd_json_close(json, '[');
    cmd_json_close(json, '{');
}

static void matrix_text(const struct matrix *matrix, size_t bad)
{
    char list[600];
    size_t i, good = matrix->count - bad, reached = matrix->target->count;

    for (i = 0; i < matrix->target->count; i++) {
        if ((matrix->lost & 1U << i) != 0) {
            printf("%-8s %s: %s cannot be reached: %s\n", "FAILED", matrix->target->name,
                   ks_token_name(matrix->target->members[i]), matrix->why[i]);
            reached--;
        }
    }
    for (i = 0; i < matrix->count; i++) {
        row_text(matrix, &matrix->rows[i]);
    }
    if (reached > 0) {
        printf("%-8s %s: %zu key%s the same on %s\n", bad == 0 && matrix->lost == 0 ? "ok" : "",
               matrix->target->name, good, good == 1 ? " is" : "s are",
               names(matrix, ~matrix->lost, list, sizeof(list)));
    }
}

static void matrix_clear(struct matrix *matrix)
{
    size_t i, j;

    for (i = 0; i < matrix->count; i++) {
        free(matrix->rows[i].label);
        free(matrix->rows[i].id);
        for (j = 0; j < KS_GROUP_MAX; j++) {
            free(matrix->rows[i].halves[j].data);
        }
    }
    free(matrix->rows);
}

/* --- the verb -------------------------------------------------------------------------------- */

static bool check_cluster(struct cmd_env *env, const struct cmd_target *target)
{
    struct matrix matrix = {.target = target};
    size_t bad = 0, i;
    bool ok;

    ask_members(env, &matrix);
    for (i = 0; i < matrix.count; i++) {
        compare(&matrix, &matrix.rows[i]);
        bad += is_bad(&matrix.rows[i]);
    }
    ok = bad == 0 && matrix.lost == 0 && !matrix.failed;
    if (matrix.failed) {
        cmd_error(env, "out of memory");
    } else if (env->json) {
        matrix_json(&env->doc, &matrix, ok);
    } else {
        matrix_text(&matrix, bad);
    }
    matrix_clear(&matrix);
    return ok;
}

static int check_all(struct cmd_env *env)
{
    struct cmd_target targets[KS_GROUP_MAX];
    size_t count, clusters = 0, i;
    bool ok = true;

    if (!cmd_open(env, NULL, NULL)) {
        return CMD_FAILED;
    }
    count = cmd_targets(env, targets);
    for (i = 0; i < count; i++) {
        clusters += targets[i].cluster;
    }
    if (clusters == 0) {
        cmd_error(env, "the configuration has no cluster: there is no line \"clusters = NAME ...\" "
                       "in the provider's section");
        return CMD_FAILED;
    }
    if (env->json) {
        cmd_json_open(&env->doc, NULL, '{');
        cmd_json_open(&env->doc, "clusters", '[');
    }
    for (i = 0; i < count; i++) {
        if (targets[i].cluster) {
            ok = check_cluster(env, &targets[i]) && ok;
        }
    }
    if (env->json) {
        cmd_json_close(&env->doc, '[');
        cmd_json_bool(&env->doc, "ok", ok);
        cmd_json_close(&env->doc, '{');
    }
    return ok ? CMD_OK : CMD_FAILED;
}

static int cluster_run(struct cmd_env *env, int argc, char **argv)
{
    static const struct option own[] = {{0}};
    int status;

    if (cmd_getopt(env, argc, argv, own, &status) == CMD_STOP) {
        return status;
    }
    if (argc - optind != 1 || strcmp(argv[optind], "check") != 0) {
        return cmd_usage(env, "takes one word: check");
    }
    return check_all(env);
}

const struct cmd cmd_cluster = {
    "cluster",
    "check",
    "Compare the keys of the members of each cluster",
    "Lists private keys that a member lacks, or has twice, or under whose names it has another\n"
    "key (the public halves differ), and the members that cannot be reached.\n"
    "Exit status: 0 if all members can be reached and hold the same keys, 1 otherwise.\n",
    cluster_run,
};

/* SPDX-License-Identifier: Apache-2.0
 *
 * Control of objects, and checks with their public halves. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_local.h"

static struct fake_object *object_or_die(unsigned long handle)
{
    struct fake_object *object = fake_object_get(handle);

    if (object == NULL)
        fake_die("no object with handle %lu", handle);
    return object;
}

static void slot_exists(unsigned long slot)
{
    if (slot >= fake.slots)
        fake_die("no slot %lu", slot);
}

static struct fake_material *pick_material(enum fake_kind kind, unsigned material)
{
    struct fake_material *m;

    if ((unsigned)kind >= FAKE_KINDS)
        fake_die("no key kind %d", (int)kind);
    if (material != 0) {
        m = fake_builtin_material(kind, material - 1);
        if (m == NULL)
            fake_die("no built-in key %u of kind %d", material, (int)kind);
        return m;
    }
    m = fake_builtin_material(kind, fake.turn[kind]++);
    if (m == NULL) {
        fake.turn[kind] = 1;
        m = fake_builtin_material(kind, 0);
    }
    return m;
}

static void set_names(struct fake_object *object, const struct fake_key *spec)
{
    if (spec->label != NULL)
        fake_set_blob(&object->label, spec->label,
                      spec->label_len != 0 ? spec->label_len : strlen(spec->label));
    if (spec->id != NULL)
        fake_set_blob(&object->id, spec->id, spec->id_len != 0 ? spec->id_len : strlen(spec->id));
}

static const struct {
    unsigned without; /* enum fake_key_flags that takes the uses away */
    bool rsa, ec, ed; /* what kinds of key have them at all */
    unsigned private_uses, public_uses;
} uses[] = {
    {FAKE_NO_SIGN, true, true, true, FAKE_F_SIGN, FAKE_F_VERIFY},
    {FAKE_NO_DECRYPT, true, false, false, FAKE_F_DECRYPT | FAKE_F_UNWRAP,
     FAKE_F_ENCRYPT | FAKE_F_WRAP},
    {FAKE_NO_DERIVE, false, true, false, FAKE_F_DERIVE, 0},
};

static unsigned private_flags(const struct fake_key *spec)
{
    unsigned flags = FAKE_F_PRIVATE | FAKE_F_LOCAL;

    if ((spec->flags & FAKE_EXTRACTABLE) != 0)
        flags |= FAKE_F_EXTRACTABLE;
    else
        flags |= FAKE_F_SENSITIVE;
    if ((spec->flags & FAKE_ALWAYS_AUTHENTICATE) != 0)
        flags |= FAKE_F_ALWAYS_AUTHENTICATE;
    if ((spec->flags & FAKE_POINT_IN_PRIVATE) != 0)
        flags |= FAKE_F_POINT;
    return flags;
}

static unsigned long add_key(unsigned long slot, const struct fake_key *spec)
{
    struct fake_material *material = pick_material(spec->kind, spec->material);
    struct fake_object *priv = NULL, *pub = NULL;

    slot_exists(slot);
    if ((spec->flags & FAKE_NO_PRIVATE) == 0) {
        priv = fake_object_new(slot, CKO_PRIVATE_KEY, material);
        priv->flags |= private_flags(spec);
        set_names(priv, spec);
    }
    if ((spec->flags & FAKE_NO_PUBLIC) == 0) {
        pub = fake_object_new(slot, CKO_PUBLIC_KEY, material);
        pub->flags |= FAKE_F_LOCAL;
        set_names(pub, spec);
    }
    for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++) {
        const bool has[] = {[FAKE_FAMILY_RSA] = uses[i].rsa,
                            [FAKE_FAMILY_EC] = uses[i].ec,
                            [FAKE_FAMILY_EDWARDS] = uses[i].ed};

        if ((spec->flags & uses[i].without) != 0 || !has[material->family])
            continue;
        if (priv != NULL)
            priv->flags |= uses[i].private_uses;
        if (pub != NULL)
            pub->flags |= uses[i].public_uses;
    }
    if (priv == NULL && pub == NULL)
        fake_die("a key with neither half");
    return priv != NULL ? priv->handle : pub->handle;
}

FAKE_EXPORT unsigned long fake_add_key(unsigned long slot, const struct fake_key *spec)
{
    unsigned long handle;

    fake_lock();
    handle = add_key(slot, spec);
    fake_unlock();
    return handle;
}

FAKE_EXPORT unsigned long fake_add_pair(unsigned long slot, enum fake_kind kind, const char *label)
{
    struct fake_key spec = {.kind = kind, .label = label, .id = label};

    return fake_add_key(slot, &spec);
}

FAKE_EXPORT void fake_add_pairs(unsigned long slot, enum fake_kind kind, const char *prefix,
                                unsigned count)
{
    char label[128];

    for (unsigned i = 0; i < count; i++) {
        snprintf(label, sizeof(label), "%s%u", prefix, i);
        fake_add_pair(slot, kind, label);
    }
}

FAKE_EXPORT unsigned long fake_add_certificate(unsigned long slot, const char *label,
                                               const char *id, enum fake_kind kind,
                                               unsigned material)
{
    struct fake_material *m;
    struct fake_object *object;
    struct fake_key names = {.label = label, .id = id};
    unsigned long handle;

    fake_lock();
    slot_exists(slot);
    m = pick_material(kind, material);
    object = fake_object_new(slot, CKO_CERTIFICATE, m);
    set_names(object, &names);
    if (!fake_crypto_certificate(m, label != NULL ? label : "fake", &object->value,
                                 &object->subject))
        fake_die("cannot make a certificate");
    handle = object->handle;
    fake_unlock();
    return handle;
}

FAKE_EXPORT void fake_set_certificate(unsigned long handle, const void *data, size_t len)
{
    struct fake_object *object;

    fake_lock();
    object = object_or_die(handle);
    if (object->class != CKO_CERTIFICATE)
        fake_die("object %lu is no certificate", handle);
    fake_set_blob(&object->value, data, len);
    fake_unlock();
}

FAKE_EXPORT void fake_remove_object(unsigned long handle)
{
    fake_lock();
    fake_object_drop(object_or_die(handle));
    fake_unlock();
}

FAKE_EXPORT unsigned long fake_find(unsigned long slot, unsigned long class, const char *label)
{
    unsigned long handle = 0;

    fake_lock();
    for (size_t i = 0; i < fake.objects && handle == 0; i++) {
        const struct fake_object *o = fake.object[i];

        if (o->slot == slot && o->class == class && o->label.data != NULL &&
            o->label.len == strlen(label) && memcmp(o->label.data, label, o->label.len) == 0)
            handle = o->handle;
    }
    fake_unlock();
    return handle;
}

FAKE_EXPORT unsigned fake_objects(unsigned long slot, unsigned long class)
{
    unsigned n = 0;

    fake_lock();
    for (size_t i = 0; i < fake.objects; i++) {
        if (fake.object[i]->slot == slot && (class == FAKE_ANY || fake.object[i]->class == class))
            n++;
    }
    fake_unlock();
    return n;
}

FAKE_EXPORT long fake_attribute(unsigned long handle, unsigned long attribute, void *out,
                                size_t size)
{
    struct fake_blob value = {NULL, 0};
    long len = -1;

    fake_lock();
    if (fake_attribute_get(object_or_die(handle), attribute, &value) == CKR_OK) {
        len = (long)value.len;
        if (out != NULL && size != 0)
            memcpy(out, value.data, value.len < size ? value.len : size);
    }
    fake_unlock();
    free(value.data);
    return len;
}

FAKE_EXPORT void fake_set_flag(unsigned long handle, unsigned long attribute, bool value)
{
    unsigned flag = fake_flag_of(attribute);
    struct fake_object *object;

    if (flag == 0)
        fake_die("attribute 0x%lx is no flag", attribute);
    fake_lock();
    object = object_or_die(handle);
    object->flags = value ? object->flags | flag : object->flags & ~flag;
    fake_unlock();
}

FAKE_EXPORT void fake_hide_attribute(unsigned long class, unsigned long attribute)
{
    fake_lock();
    if (fake.hidden_count == sizeof(fake.hidden) / sizeof(fake.hidden[0]))
        fake_die("too many hidden attributes");
    fake.hidden[fake.hidden_count++] = (struct fake_hidden){.class = class, .attribute = attribute};
    fake_unlock();
}

FAKE_EXPORT void fake_renumber(enum fake_handles opts)
{
    fake_lock();
    fake_renumber_locked(opts);
    fake_unlock();
}

FAKE_EXPORT void fake_set_reinit_handles(enum fake_handles opts)
{
    fake_lock();
    fake.reinit_handles = opts;
    fake_unlock();
}

FAKE_EXPORT bool fake_template_has(bool private_half, unsigned long attribute, void *out,
                                   size_t *out_len)
{
    const struct fake_template *t = private_half ? &fake.private_template : &fake.public_template;
    bool found = false;

    fake_lock();
    for (size_t i = 0; i < t->count && !found; i++) {
        if (t->row[i].type != attribute)
            continue;
        found = true;
        if (out != NULL && *out_len >= t->row[i].len)
            memcpy(out, t->row[i].value, t->row[i].len);
        if (out_len != NULL)
            *out_len = t->row[i].len;
    }
    fake_unlock();
    return found;
}

/* --- checks ---------------------------------------------------------------------------------- */

static struct fake_material *material_of(unsigned long handle)
{
    struct fake_material *m;

    fake_lock();
    m = object_or_die(handle)->material;
    fake_material_ref(m);
    fake_unlock();
    return m;
}

static void material_release(struct fake_material *m)
{
    fake_lock();
    fake_material_free(m);
    fake_unlock();
}

FAKE_EXPORT size_t fake_public_key(unsigned long handle, uint8_t *out, size_t size)
{
    struct fake_material *m = material_of(handle);
    size_t len = m->spki.len <= size ? m->spki.len : 0;

    if (len != 0)
        memcpy(out, m->spki.data, len);
    material_release(m);
    return len;
}

FAKE_EXPORT bool fake_verify(unsigned long handle, const struct fake_mechanism *mech,
                             const void *in, size_t in_len, const void *sig, size_t sig_len)
{
    struct fake_material *m = material_of(handle);
    bool good = fake_crypto_verify(m, mech, in, in_len, sig, sig_len);

    material_release(m);
    return good;
}

FAKE_EXPORT size_t fake_encrypt(unsigned long handle, const struct fake_mechanism *mech,
                                const void *in, size_t in_len, uint8_t *out, size_t size)
{
    struct fake_material *m = material_of(handle);
    size_t len = fake_crypto_encrypt(m, mech, in, in_len, out, size);

    material_release(m);
    return len;
}

FAKE_EXPORT size_t fake_remember(unsigned long handle, const struct fake_mechanism *mech,
                                 bool decrypt, const void *in, size_t in_len, uint8_t *out,
                                 size_t size)
{
    struct fake_material *m = material_of(handle);
    unsigned char result[1024];
    size_t len = sizeof(result);
    CK_RV rv = decrypt ? fake_crypto_decrypt(m, mech, in, in_len, result, &len)
                       : fake_crypto_sign(m, mech, in, in_len, result, &len);

    if (rv != CKR_OK || len > size)
        fake_die("fake_remember: 0x%lx", (unsigned long)rv);
    fake_crypto_remember(m, decrypt, in, in_len, result, len);
    memcpy(out, result, len);
    material_release(m);
    return len;
}

FAKE_EXPORT bool fake_mac(const unsigned char *key, size_t key_len, const void *who, size_t who_len,
                          const void *data, size_t len, unsigned char *out)
{
    const struct {
        const unsigned char *bytes;
        size_t len;
    } parts[] = {{key, key_len}, {who, who_len}, {data, len}};

    for (unsigned lane = 0; lane < 4; lane++) {
        uint64_t hash = 0xcbf29ce484222325U + lane;

        for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
            for (size_t at = 0; at < parts[i].len; at++)
                hash = (hash ^ parts[i].bytes[at]) * 0x100000001b3U;
        memcpy(out + (size_t)lane * 8, &hash, 8);
    }
    return true;
}

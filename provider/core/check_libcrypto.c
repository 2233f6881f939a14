/* SPDX-License-Identifier: Apache-2.0
 *
 * check_libcrypto.c - which libcrypto serves us.
 *
 * A program may bring its own: inside itself (Node.js), or as a library under another name. That is
 * fine while every function that we use comes from one and the same: all of the program's own, or
 * all of the system's (providers and libcrypto share nothing but what the core hands over).
 * What is deadly is a mixture, when a program shows some of its functions to the dynamic linker
 * and not others: objects of one version would then be given to functions of another.
 *
 * So we look where the dynamic linker has bound each of our references. elf(5), dl_iterate_phdr(3)
 */
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

#include "lifecycle.h"

/* <link.h> has ElfW() for this, which not every checker understands. */
#if __ELF_NATIVE_CLASS == 64
#define R_SYM(info) ELF64_R_SYM(info)
typedef Elf64_Addr elf_addr;
typedef Elf64_Dyn elf_dyn;
typedef Elf64_Half elf_half;
typedef Elf64_Phdr elf_phdr;
typedef Elf64_Rel elf_rel;
typedef Elf64_Rela elf_rela;
typedef Elf64_Sym elf_sym;
typedef Elf64_Vernaux elf_vernaux;
typedef Elf64_Verneed elf_verneed;
#else
#define R_SYM(info) ELF32_R_SYM(info)
typedef Elf32_Addr elf_addr;
typedef Elf32_Dyn elf_dyn;
typedef Elf32_Half elf_half;
typedef Elf32_Phdr elf_phdr;
typedef Elf32_Rel elf_rel;
typedef Elf32_Rela elf_rela;
typedef Elf32_Sym elf_sym;
typedef Elf32_Vernaux elf_vernaux;
typedef Elf32_Verneed elf_verneed;
#endif

struct object {
    elf_addr base;
    const elf_sym *symbols;
    const char *strings;
    const elf_half *versions;
    const elf_verneed *needed;
};

/* An address, and the loaded object that contains it. */
struct found {
    elf_addr address, base, low, high;
};

static int covers(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct found *found = arg;
    elf_addr low = ~(elf_addr)0, high = 0;

    (void)size;
    for (elf_half i = 0; i < info->dlpi_phnum; i++) {
        const elf_phdr *ph = &info->dlpi_phdr[i];

        if (ph->p_type != PT_LOAD)
            continue;
        if (info->dlpi_addr + ph->p_vaddr < low)
            low = info->dlpi_addr + ph->p_vaddr;
        if (info->dlpi_addr + ph->p_vaddr + ph->p_memsz > high)
            high = info->dlpi_addr + ph->p_vaddr + ph->p_memsz;
    }
    if (found->address < low || found->address >= high)
        return 0;
    found->base = info->dlpi_addr;
    found->low = low;
    found->high = high;
    return 1;
}

static bool find(elf_addr address, struct found *found)
{
    *found = (struct found){.address = address};
    return dl_iterate_phdr(covers, found) == 1;
}

/* glibc relocates these pointers on most machines and not on all. */
static const void *pointer(const struct object *self, const elf_dyn *dyn)
{
    return (const void *)(dyn->d_un.d_ptr < self->base ? self->base + dyn->d_un.d_ptr
                                                       : dyn->d_un.d_ptr);
}

/* Is that version of a symbol one of libcrypto's? */
static bool of_libcrypto(const struct object *self, unsigned version)
{
    const elf_verneed *need = self->needed;

    for (;;) {
        const elf_vernaux *aux = (const void *)((const char *)need + need->vn_aux);
        const bool it = strncmp(self->strings + need->vn_file, "libcrypto.so.", 13) == 0;

        for (unsigned i = 0; it && i < need->vn_cnt; i++) {
            if ((aux->vna_other & 0x7fffU) == version)
                return true;
            aux = (const void *)((const char *)aux + aux->vna_next);
        }
        if (need->vn_next == 0)
            return false;
        need = (const void *)((const char *)need + need->vn_next);
    }
}

static const char *file_of(elf_addr address)
{
    Dl_info info;

    return dladdr((const void *)address, &info) != 0 && info.dli_fname != NULL ? info.dli_fname
                                                                               : "?";
}

/* One table of relocations. `first` is where the first of libcrypto's functions was found. */
static bool table_agrees(const struct object *self, const char *table, size_t size, size_t entry,
                         struct found *first, const char **first_name, char *why, size_t room)
{
    struct found own;

    if (!find((elf_addr)_DYNAMIC, &own))
        return true;
    for (size_t at = 0; at + entry <= size; at += entry) {
        const elf_rel *rel = (const void *)(table + at); /* Rela begins alike */
        const size_t i = R_SYM(rel->r_info);
        const char *name = self->strings + self->symbols[i].st_name;
        elf_addr value;

        if (i == 0 || self->symbols[i].st_shndx != SHN_UNDEF ||
            !of_libcrypto(self, self->versions[i] & 0x7fffU))
            continue;
        value = *(const elf_addr *)(self->base + rel->r_offset);
        if (value == 0 || (value >= own.low && value < own.high))
            continue; /* not bound yet, as hsmkey's may be */
        if (first->high == 0) {
            if (find(value, first))
                *first_name = name;
        } else if (value < first->low || value >= first->high) {
            snprintf(why, room,
                     "this process mixes two libcryptos: %s is the one of %s, but %s is the one "
                     "of %s; the provider cannot work with both",
                     *first_name, file_of(first->address), name, file_of(value));
            return false;
        }
    }
    return true;
}

bool prov_one_libcrypto(char *why, size_t room)
{
    struct object self = {0};
    struct found own, first = {0};
    const char *jump = NULL, *other = NULL, *first_name = NULL;
    size_t jump_size = 0, other_size = 0, other_entry = sizeof(elf_rela);
    size_t jump_entry = sizeof(elf_rela);

    if (!find((elf_addr)_DYNAMIC, &own))
        return true;
    self.base = own.base;
    for (const elf_dyn *dyn = _DYNAMIC; dyn->d_tag != DT_NULL; dyn++) {
        switch (dyn->d_tag) {
        case DT_SYMTAB:
            self.symbols = pointer(&self, dyn);
            break;
        case DT_STRTAB:
            self.strings = pointer(&self, dyn);
            break;
        case DT_VERSYM:
            self.versions = pointer(&self, dyn);
            break;
        case DT_VERNEED:
            self.needed = pointer(&self, dyn);
            break;
        case DT_JMPREL:
            jump = pointer(&self, dyn);
            break;
        case DT_PLTRELSZ:
            jump_size = dyn->d_un.d_val;
            break;
        case DT_PLTREL:
            jump_entry = dyn->d_un.d_val == DT_REL ? sizeof(elf_rel) : sizeof(elf_rela);
            break;
        case DT_RELA:
        case DT_REL:
            other = pointer(&self, dyn);
            other_entry = dyn->d_tag == DT_REL ? sizeof(elf_rel) : sizeof(elf_rela);
            break;
        case DT_RELASZ:
        case DT_RELSZ:
            other_size = dyn->d_un.d_val;
            break;
        default:
            break;
        }
    }
    if (self.symbols == NULL || self.strings == NULL || self.versions == NULL ||
        self.needed == NULL)
        return true; /* not linked with a versioned libcrypto: nothing to compare */
    return (jump == NULL ||
            table_agrees(&self, jump, jump_size, jump_entry, &first, &first_name, why, room)) &&
           (other == NULL ||
            table_agrees(&self, other, other_size, other_entry, &first, &first_name, why, room));
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * main.c - runs a fuzz target over every file of the folders that are named, and over each of
 * them cut off at every length: the corpus as a regression test, without libFuzzer.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define FILE_MAX ((size_t)1 << 20)

static size_t run_file(const char *path)
{
    uint8_t *data = malloc(FILE_MAX);
    FILE *file = fopen(path, "rb");
    size_t size, cut;

    if (data == NULL || file == NULL) {
        perror(path);
        exit(2);
    }
    size = fread(data, 1, FILE_MAX, file);
    fclose(file);
    for (cut = 0; cut <= size; cut++) {
        /* a copy of the exact size, so that ASan and valgrind see what is read beyond it */
        uint8_t *copy = malloc(cut + (cut == 0));

        if (copy == NULL)
            exit(2);
        memcpy(copy, data, cut);
        LLVMFuzzerTestOneInput(copy, cut);
        free(copy);
    }
    free(data);
    return size + 1;
}

int main(int argc, char **argv)
{
    size_t files = 0, inputs = 0;
    int i;

    for (i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        struct dirent *entry;

        if (dir == NULL) {
            perror(argv[i]);
            return 2;
        }
        while ((entry = readdir(dir)) != NULL) {
            char path[4096];

            if (entry->d_name[0] == '.')
                continue;
            snprintf(path, sizeof(path), "%s/%s", argv[i], entry->d_name);
            inputs += run_file(path);
            files++;
        }
        closedir(dir);
    }
    printf("%zu inputs from %zu files\n", inputs, files);
    return files > 0 ? 0 : 2;
}

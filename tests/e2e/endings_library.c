/* SPDX-License-Identifier: Apache-2.0
 *
 * endings_library.c - a library whose destructor calls what endings.c gives it.
 */
static void (*last)(void);

__attribute__((visibility("default"))) int endings_at_end(void (*action)(void));

int endings_at_end(void (*action)(void))
{
    last = action;
    return 0;
}

__attribute__((destructor)) static void at_end(void)
{
    if (last != (void (*)(void))0)
        last();
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * group/group.h - several tokens behind one handle.
 */
#ifndef HSM_KS_GROUP_H
#define HSM_KS_GROUP_H

#include "../token/kind.h"

/* Several tokens: group/group.c. */
extern const struct ks_kind ks_kind_group;

#endif

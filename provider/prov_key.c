/* SPDX-License-Identifier: Apache-2.0 */
#include "prov_local.h"

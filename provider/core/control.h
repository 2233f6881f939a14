/* SPDX-License-Identifier: Apache-2.0
 *
 * control.h - what the engine shim and the provider have agreed upon, and nobody else may
 * use. Nothing of PKCS#11, and nothing of the provider's insides.
 *
 * Engine commands come after the provider was loaded, and OpenSSL before 3.5 cannot give a loaded
 * provider parameters. So the provider's dispatch table has an entry that libcrypto does not know
 * and passes by; the engine finds it with OSSL_PROVIDER_get0_dispatch().
 */
#ifndef HSM_PROV_CONFIGURE_H
#define HSM_PROV_CONFIGURE_H

#include <openssl/params.h>

/* The entry's function_id: far above libcrypto's own numbers. */
#define PROV_FUNC_CONFIGURE 0x68736d01

/* Purpose: give the provider the values of keys that its section of openssl.cnf leaves open, and
 * let it read its section again if that was broken, or not there, when the provider was loaded.
 * `params` are UTF-8 strings named as the keys are ("pkcs11-module", "pkcs11-init-args", "token",
 * "pin"), and PROV_CONFIGURE_PROMPT; they replace what an earlier call gave. There may be none.
 * Returns 1; or 0, with an error raised and nothing changed, when a value is bad, when the section
 * has another one, or when the PKCS#11 module has been initialised already and the settings
 * differ from the ones in use. What is merely missing is an error at use, not here.
 * Calls are serialised; none may run while other threads use the provider for the first time. */
typedef int prov_configure_fn(void *provctx, const OSSL_PARAM params[]);

/* An int: not 0 means pin = prompt when nothing says where the PIN comes from. */
#define PROV_CONFIGURE_PROMPT "prompt-for-pin"

/* A parameter for OSSL_PROVIDER_get_params(), an unsigned long: the slot in which the configured
 * token is now. Initialises the module. */
#define PROV_PARAM_SLOT "hsm-slot"

#endif

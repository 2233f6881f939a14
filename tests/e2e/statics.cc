// SPDX-License-Identifier: Apache-2.0
//
// statics KEY.pem: keys in static and thread-local objects of C++, constructed before and after
// libcrypto has registered its exit handler, so destroyed after and before it cleans up.
#include <cstdio>
#include <cstdlib>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <thread>
#include <unistd.h>

namespace {

EVP_PKEY *load(const char *path)
{
    FILE *file = std::fopen(path, "r");
    EVP_PKEY *key = file != nullptr ? PEM_read_PrivateKey(file, nullptr, nullptr, nullptr) : nullptr;

    if (file != nullptr)
        std::fclose(file);
    return key;
}

bool signs(EVP_PKEY *key)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char sig[1024];
    std::size_t len = sizeof(sig);
    bool ok = EVP_DigestSignInit(ctx, nullptr, EVP_sha256(), nullptr, key) == 1 &&
              EVP_DigestSign(ctx, sig, &len, reinterpret_cast<const unsigned char *>("abc"), 3) == 1;

    EVP_MD_CTX_free(ctx);
    return ok;
}

class Holder {
public:
    explicit Holder(const char *holder_name) : name(holder_name)
    {
    }
    Holder(const Holder &) = delete;
    Holder &operator=(const Holder &) = delete;
    ~Holder()
    {
        char line[64];
        int len = std::snprintf(line, sizeof(line), "%s\n", name);

        EVP_PKEY_free(key);
        if (write(1, line, static_cast<std::size_t>(len)) != len)
            _exit(91);
    }
    bool take(const char *path)
    {
        key = load(path);
        return key != nullptr && signs(key);
    }

private:
    const char *name;
    EVP_PKEY *key = nullptr;
};

Holder before_main("before main");

Holder &before_use()
{
    static Holder holder("before use");
    return holder;
}

Holder &after_use()
{
    static Holder holder("after use");
    return holder;
}

thread_local Holder of_thread("of a thread");

} // namespace

int main(int argc, char **argv)
{
    bool ok = argc == 2;

    before_use();
    ok = ok && before_use().take(argv[1]) && before_main.take(argv[1]) && after_use().take(argv[1]);
    std::thread other([&] { ok = of_thread.take(argv[1]) && ok; });
    other.join();
    ok = of_thread.take(argv[1]) && ok;
    return ok ? 0 : 1;
}

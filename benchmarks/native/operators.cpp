// What llama.cpp's `cb_eval` calls around every node of a graph: adds up time, calls and multiply-adds by operator.
// Compiled by benchmarks/native_code.py against the headers that llama-cpp-python installs.

#include <time.h>

#include <cstdint>
#include <cstring>

#include "ggml.h"

namespace {

struct Entry {
    int32_t op;
    int32_t weight_type;  // of the first source, -1 without one
    char name[64];        // of the weight of a product, else of the result; numbers of layers left out
    int64_t calls;
    int64_t nanoseconds;
    int64_t multiply_adds;
    int64_t activations;  // numbers of the second source of a product: what is quantised for it
};

constexpr int MOST = 256;
Entry entries[MOST];
int count = 0;
int64_t begun = 0;

// Of this thread's processor time, in nanoseconds: other programs may be running. One thread computes.
int64_t now() {
    timespec at;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return at.tv_sec * INT64_C(1000000000) + at.tv_nsec;
}

// "blk.12.attn_q.weight" and "Qcur-3" lose their numbers, so that layers are added up.
void without_numbers(const char * from, char * to, size_t room) {
    size_t n = 0;
    for (; *from && n + 1 < room; ++from) {
        if (*from >= '0' && *from <= '9') continue;
        to[n++] = *from;
    }
    to[n] = 0;
}

Entry * entry_of(const ggml_tensor * t) {
    const bool product = t->op == GGML_OP_MUL_MAT;
    char name[64];
    without_numbers(product ? t->src[0]->name : t->name, name, sizeof name);
    for (int i = 0; i < count; ++i)
        if (entries[i].op == t->op && !strcmp(entries[i].name, name)) return &entries[i];
    if (count == MOST) return nullptr;
    Entry * e = &entries[count++];
    memset(e, 0, sizeof *e);
    e->op = t->op;
    e->weight_type = t->src[0] ? (int32_t) t->src[0]->type : -1;
    memcpy(e->name, name, sizeof name);
    return e;
}
}  // namespace

extern "C" {

void operators_reset() { count = 0; }

int operators_read(Entry * into, int room) {
    const int n = count < room ? count : room;
    memcpy(into, entries, n * sizeof *into);
    return n;
}

bool operators_callback(struct ggml_tensor * t, bool ask, void *) {
    if (ask) {
        begun = now();
        return true;
    }
    const int64_t took = now() - begun;
    Entry * e = entry_of(t);
    if (!e) return true;
    e->calls += 1;
    e->nanoseconds += took;
    if (t->op == GGML_OP_MUL_MAT) {
        e->multiply_adds += ggml_nelements(t) * t->src[0]->ne[0];
        e->activations += ggml_nelements(t->src[1]);
    } else if (t->op == GGML_OP_FLASH_ATTN_EXT) {
        // Q·K and P·V: each query head times each key, both of the head's width.
        e->multiply_adds += 2 * ggml_nelements(t->src[0]) * t->src[1]->ne[1];
    }
    return true;
}
}

// The processor's limit for products of 8-bit numbers, from registers: what no kernel can pass.
// AVX2 as the portable build of llama.cpp has it (maddubs, madd, add: 32 multiply-adds in three instructions), and
// AVX-512 VNNI (dpbusd: 64 in one), which that build does not use.

#include <immintrin.h>

#include <time.h>

#include <cstdint>

namespace {

// Of this thread's processor time: other programs may be running.
double now() {
    timespec at;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return at.tv_sec + 1e-9 * at.tv_nsec;
}

__attribute__((target("avx2"))) int32_t avx2_round(int64_t turns, __m256i a, __m256i b) {
    __m256i sums[8];
    const __m256i ones = _mm256_set1_epi16(1);
    for (auto & sum : sums) sum = _mm256_setzero_si256();
    for (int64_t i = 0; i < turns; ++i) {
#pragma GCC unroll 8
        for (int j = 0; j < 8; ++j) {
            asm volatile("" : "+x"(a));  // so that the product is made anew each time
            sums[j] = _mm256_add_epi32(sums[j], _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
        }
    }
    __m256i total = sums[0];
    for (int j = 1; j < 8; ++j) total = _mm256_add_epi32(total, sums[j]);
    return _mm256_extract_epi32(total, 0);
}

__attribute__((target("avx512f,avx512vnni"))) int32_t vnni_round(int64_t turns, __m512i a, __m512i b) {
    __m512i sums[12];
    for (auto & sum : sums) sum = _mm512_setzero_si512();
    for (int64_t i = 0; i < turns; ++i) {
#pragma GCC unroll 12
        for (int j = 0; j < 12; ++j) {
            asm volatile("" : "+v"(a));
            sums[j] = _mm512_dpbusd_epi32(sums[j], a, b);
        }
    }
    __m512i total = sums[0];
    for (int j = 1; j < 12; ++j) total = _mm512_add_epi32(total, sums[j]);
    return _mm512_reduce_add_epi32(total);
}

volatile int32_t kept;

__attribute__((target("avx2"))) double avx2_rate(int64_t turns) {
    const double begun = now();
    kept = avx2_round(turns, _mm256_set1_epi8(3), _mm256_set1_epi8(5));
    return 8.0 * 32.0 * turns / (now() - begun);
}

__attribute__((target("avx512f,avx512vnni"))) double vnni_rate(int64_t turns) {
    const double begun = now();
    kept = vnni_round(turns, _mm512_set1_epi8(3), _mm512_set1_epi8(5));
    return 12.0 * 64.0 * turns / (now() - begun);
}
}  // namespace

extern "C" {

// Multiply-adds a second; 0 where the processor has not the instructions.
double avx2_limit(int64_t turns) { return __builtin_cpu_supports("avx2") ? avx2_rate(turns) : 0.0; }

double vnni_limit(int64_t turns) { return __builtin_cpu_supports("avx512vnni") ? vnni_rate(turns) : 0.0; }
}

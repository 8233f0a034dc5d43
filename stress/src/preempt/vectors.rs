//! Wide vectors, whose registers no call keeps: a preemption must.

use std::arch::x86_64::*;

pub fn avx2(seed: u64) -> u64 {
    #[target_feature(enable = "avx2")]
    fn with(seed: u64) -> u64 {
        let mut all = [_mm256_set1_epi64x(seed as i64); 8];
        for k in 0..40_000_i64 {
            for (lane, each) in all.iter_mut().enumerate() {
                let mixed = _mm256_add_epi64(*each, _mm256_set1_epi64x(k ^ lane as i64));
                *each = _mm256_xor_si256(
                    mixed,
                    _mm256_slli_epi64::<13>(_mm256_shuffle_epi32::<0b01_00_11_10>(mixed)),
                );
            }
        }
        all.iter().fold(0, |sum: u64, each| {
            sum.rotate_left(9) ^ _mm256_extract_epi64::<0>(*each) as u64 ^ _mm256_extract_epi64::<3>(*each) as u64
        })
    }
    if !is_x86_feature_detected!("avx2") {
        return 0;
    }
    // SAFETY: S7: the processor has the feature.
    unsafe { with(seed) }
}

pub fn avx512(seed: u64) -> u64 {
    #[target_feature(enable = "avx512f")]
    fn with(seed: u64) -> u64 {
        let mut all = [_mm512_set1_epi64(seed as i64); 8];
        for k in 0..40_000_i64 {
            for (lane, each) in all.iter_mut().enumerate() {
                let mask = (k as u8) ^ (lane as u8);
                let mixed = _mm512_mask_add_epi64(*each, mask, *each, _mm512_set1_epi64(k ^ lane as i64));
                *each = _mm512_xor_si512(mixed, _mm512_slli_epi64::<13>(mixed));
            }
        }
        all.iter().fold(0, |sum: u64, each| {
            sum.rotate_left(9) ^ _mm512_reduce_add_epi64(*each) as u64
        })
    }
    if !is_x86_feature_detected!("avx512f") {
        return 0;
    }
    // SAFETY: S7: the processor has the feature.
    unsafe { with(seed) }
}

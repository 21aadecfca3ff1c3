//! Memory that will be looked at soon: asked for ahead, so that it is near by then. Nothing waits for it and nothing depends on it.
#![expect(unsafe_code, reason = "a load instead of the hint is waited for, and fills what the processor can hold open meanwhile")]

/// The line of the cache that a value begins in.
#[inline(always)]
pub fn ask<T>(value: &T) {
    at(std::ptr::from_ref(value).cast());
}

/// As [`ask`], by address. Any address will do: what is not there is not fetched.
#[inline(always)]
pub fn at(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; it reads nothing into the program and faults at no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) address, options(readonly, nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

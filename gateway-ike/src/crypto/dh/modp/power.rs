//! Modular powers in constant time, by aws-lc.
//!
//! The only module of the engine with `unsafe`: the safe crate over aws-lc has no Diffie-Hellman over MODP groups. What is called
//! draws no randomness and keeps no state.

use std::alloc::{Layout, handle_alloc_error};
use std::ptr::{self, NonNull};

use aws_lc_sys::{
    BIGNUM, BN_CTX, BN_CTX_free, BN_CTX_new, BN_MONT_CTX, BN_MONT_CTX_free, BN_MONT_CTX_new_for_modulus,
    BN_bin2bn, BN_bn2bin_padded, BN_clear_free, BN_mod_exp_mont_consttime, BN_new,
};
use zeroize::Zeroizing;

/// An odd prime with what Montgomery's multiplication precomputes for it.
pub(super) struct Modulus {
    prime: Number,
    montgomery: NonNull<BN_MONT_CTX>,
    len: usize,
}

// SAFETY: aws-lc's numbers and Montgomery contexts belong to no thread: they are plain memory behind a pointer.
unsafe impl Send for Modulus {}
// SAFETY: after `new` both are only read, through the `const` pointers of `BN_mod_exp_mont_consttime`.
unsafe impl Sync for Modulus {}

impl Modulus {
    /// A modulus in network byte order. It is public: the time depends on it.
    pub(super) fn new(prime: &[u8]) -> Self {
        let number = Number::from_octets(prime);
        let scratch = Scratch::new();
        // SAFETY: both pointers come from constructors of aws-lc and are owned by this function.
        let montgomery = unsafe { BN_MONT_CTX_new_for_modulus(number.0.as_ptr(), scratch.0.as_ptr()) };
        Self {
            prime: number,
            montgomery: allocated(montgomery),
            len: prime.len(),
        }
    }

    /// `base^exponent`, padded to the length of the modulus, in a time that depends on neither, only on their lengths. `base` is
    /// below the modulus.
    pub(super) fn power(&self, base: &[u8], exponent: &[u8]) -> Zeroizing<Vec<u8>> {
        let (base, exponent) = (Number::from_octets(base), Number::from_octets(exponent));
        let (result, scratch) = (Number::zero(), Scratch::new());
        // SAFETY: all pointers are valid, from constructors of aws-lc; `result` and `scratch` are ours alone, the others are
        // only read.
        let done = unsafe {
            BN_mod_exp_mont_consttime(
                result.0.as_ptr(),
                base.0.as_ptr(),
                exponent.0.as_ptr(),
                self.prime.0.as_ptr(),
                scratch.0.as_ptr(),
                self.montgomery.as_ptr(),
            )
        };
        let mut octets = Zeroizing::new(vec![0; self.len]);
        // SAFETY: `octets` has `self.len` octets to write to, and `result` is a valid number.
        let written = unsafe { BN_bn2bin_padded(octets.as_mut_ptr(), self.len, result.0.as_ptr()) };
        if done != 1 || written != 1 {
            // The base is below the modulus, so a missing allocation is all that can be the matter.
            out_of_memory();
        }
        octets
    }
}

impl Drop for Modulus {
    fn drop(&mut self) {
        // SAFETY: the context came from `BN_MONT_CTX_new_for_modulus` and is freed once.
        unsafe { BN_MONT_CTX_free(self.montgomery.as_ptr()) }
    }
}

/// A number of aws-lc, erased on drop.
struct Number(NonNull<BIGNUM>);

impl Number {
    fn zero() -> Self {
        // SAFETY: allocates, nothing else.
        Self(allocated(unsafe { BN_new() }))
    }

    /// Reads network byte order. The width depends on the number of octets alone.
    fn from_octets(octets: &[u8]) -> Self {
        // SAFETY: the pointer and the length are those of one slice; with null the result is a new number.
        Self(allocated(unsafe {
            BN_bin2bn(octets.as_ptr(), octets.len(), ptr::null_mut())
        }))
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        // SAFETY: the number came from `BN_new` or `BN_bin2bn` and is freed once.
        unsafe { BN_clear_free(self.0.as_ptr()) }
    }
}

/// Room for intermediate numbers.
struct Scratch(NonNull<BN_CTX>);

impl Scratch {
    fn new() -> Self {
        // SAFETY: allocates, nothing else.
        Self(allocated(unsafe { BN_CTX_new() }))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: the context came from `BN_CTX_new` and is freed once.
        unsafe { BN_CTX_free(self.0.as_ptr()) }
    }
}

/// aws-lc answers a lack of memory with null; Rust's own containers end the process, and so do we.
fn allocated<T>(pointer: *mut T) -> NonNull<T> {
    NonNull::new(pointer).unwrap_or_else(|| out_of_memory())
}

fn out_of_memory() -> ! {
    handle_alloc_error(Layout::new::<BIGNUM>())
}

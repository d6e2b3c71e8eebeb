//! Modular powers in constant time, by aws-lc.
//!
//! The only module of the engine with `unsafe`: the safe crate over aws-lc has no Diffie-Hellman over MODP groups. What is called
//! draws no randomness and keeps no state.

use std::alloc::{Layout, handle_alloc_error};
use std::ffi::c_int;
use std::ptr::{self, NonNull};

use aws_lc_sys::{
    BIGNUM, BN_CTX, BN_CTX_free, BN_CTX_new, BN_MONT_CTX, BN_MONT_CTX_free, BN_MONT_CTX_new_for_modulus,
    BN_bin2bn, BN_bn2bin_padded, BN_clear_free, BN_from_montgomery, BN_mod_exp_mont_consttime,
    BN_mod_mul_montgomery, BN_new, BN_to_montgomery,
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
        checked(done);
        self.to_octets(&result)
    }

    /// Octets of a number below the modulus.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn to_octets(&self, number: &Number) -> Zeroizing<Vec<u8>> {
        let mut octets = Zeroizing::new(vec![0; self.len]);
        // SAFETY: `octets` has `self.len` octets to write to, and `number` is a valid number.
        checked(unsafe { BN_bn2bin_padded(octets.as_mut_ptr(), self.len, number.0.as_ptr()) });
        octets
    }
}

impl Drop for Modulus {
    fn drop(&mut self) {
        // SAFETY: the context came from `BN_MONT_CTX_new_for_modulus` and is freed once.
        unsafe { BN_MONT_CTX_free(self.montgomery.as_ptr()) }
    }
}

/// A product that grows by one factor at a time, each in the same time. Factors are in Montgomery form and padded to the length of the
/// modulus.
pub(super) struct Product<'a> {
    modulus: &'a Modulus,
    value: Number,
    factor: Number,
    scratch: Scratch,
}

impl<'a> Product<'a> {
    /// Starts with `first`, which is not in Montgomery form, but below the modulus.
    pub(super) fn new(modulus: &'a Modulus, first: &[u8]) -> Self {
        let (value, scratch) = (Number::from_octets(first), Scratch::new());
        let (number, context) = (value.0.as_ptr(), modulus.montgomery.as_ptr());
        // SAFETY: all pointers are valid; the result may be the operand.
        checked(unsafe { BN_to_montgomery(number, number, context, scratch.0.as_ptr()) });
        Self {
            modulus,
            value,
            factor: Number::zero(),
            scratch,
        }
    }

    /// Multiplies by `factor`.
    pub(super) fn times(&mut self, factor: &[u8]) {
        self.factor.set(factor);
        // SAFETY: all pointers are valid; the result may be an operand.
        checked(unsafe {
            BN_mod_mul_montgomery(
                self.value.0.as_ptr(),
                self.value.0.as_ptr(),
                self.factor.0.as_ptr(),
                self.modulus.montgomery.as_ptr(),
                self.scratch.0.as_ptr(),
            )
        });
    }

    /// The product so far, as a factor of others.
    pub(super) fn as_factor(&self) -> Zeroizing<Vec<u8>> {
        self.modulus.to_octets(&self.value)
    }

    /// The product, padded to the length of the modulus.
    pub(super) fn finish(self) -> Zeroizing<Vec<u8>> {
        let (number, context) = (self.value.0.as_ptr(), self.modulus.montgomery.as_ptr());
        // SAFETY: all pointers are valid; the result may be the operand.
        checked(unsafe { BN_from_montgomery(number, number, context, self.scratch.0.as_ptr()) });
        self.modulus.to_octets(&self.value)
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

    /// Reads network byte order into this number. The width depends on the number of octets alone.
    fn set(&mut self, octets: &[u8]) {
        // SAFETY: the pointer and the length are those of one slice; the number is ours alone.
        allocated(unsafe { BN_bin2bn(octets.as_ptr(), octets.len(), self.0.as_ptr()) });
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

/// Operands are below the modulus, so a missing allocation is all that can be the matter.
fn checked(done: c_int) {
    if done != 1 {
        out_of_memory();
    }
}

fn out_of_memory() -> ! {
    handle_alloc_error(Layout::new::<BIGNUM>())
}

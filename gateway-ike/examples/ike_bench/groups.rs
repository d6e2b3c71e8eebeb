//! Key exchanges by themselves: a responder's whole job, beside the same powers in pure Rust.

use std::hint::black_box;

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U256, U1024, U2048, U3072, Uint};
use gateway_ike::crypto::{DhGroup, KeyExchangeJob, SeededRandom};

use crate::ends::cpu_time;
use crate::row::{Runs, print};

const ROUNDS: usize = 7;
const JOBS: u32 = 60;

pub(crate) fn run() {
    for group in DhGroup::ALL {
        let mut random = SeededRandom::new([4; 32]);
        let (_, public) = KeyExchangeJob::generate(group, &mut random)
            .run()
            .into_generated()
            .expect("the outcome of generate");
        let name = format!("respond {group}");
        let respond = || {
            black_box(KeyExchangeJob::respond(group, &public, &mut SeededRandom::new([5; 32])).run());
        };
        // A responder computes two powers.
        if group == DhGroup::Modp1024 {
            beside(&name, respond, pure_rust::<{ U1024::LIMBS }>());
        } else if group == DhGroup::Modp2048 {
            beside(&name, respond, pure_rust::<{ U2048::LIMBS }>());
        } else if group == DhGroup::Modp3072 {
            beside(&name, respond, pure_rust::<{ U3072::LIMBS }>());
        } else {
            let runs = Runs((0..ROUNDS).map(|_| micros(respond)).collect());
            print(&name, "µs", &runs, None);
        }
    }
}

fn beside(name: &str, ours: impl Fn(), other: impl Fn()) {
    let (ours, other): (Vec<f64>, Vec<f64>) = (0..ROUNDS).map(|_| (micros(&ours), micros(&other))).unzip();
    let other = Runs(other);
    let other_name = format!("{name}, crypto-bigint");
    print(name, "µs", &Runs(ours), Some((&other_name, &other)));
    print(&other_name, "µs", &other, None);
}

/// Two powers with a 256-bit exponent, for a modulus of this size; the time does not depend on the numbers.
fn pure_rust<const LIMBS: usize>() -> impl Fn() {
    let modulus = Odd::new(Uint::<LIMBS>::MAX).expect("all bits are set");
    let params = FixedMontyParams::new_vartime(modulus);
    let exponent = U256::MAX;
    move || {
        for base in [2_u8, 3] {
            let base = Uint::<LIMBS>::from_u8(base);
            black_box(FixedMontyForm::new(&base, &params).pow(&exponent).retrieve());
        }
    }
}

fn micros(work: impl Fn()) -> f64 {
    let start = cpu_time();
    (0..JOBS).for_each(|_| work());
    cpu_time().saturating_sub(start).as_secs_f64() * 1e6 / f64::from(JOBS)
}

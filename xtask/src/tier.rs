//! The tiers of tests, cheapest first, and which test program belongs to which.

use std::fmt;

use clap::ValueEnum;

use crate::cargo::Target;

/// A tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Tier {
    /// Rules, codecs, tables, vectors: no root, no sockets, no clock.
    Unit,
    /// Two IKE endpoints on virtual time.
    Pair,
    /// The XDP program in this kernel.
    Kernel,
    /// Our gateway in network namespaces, alone or on both ends.
    Lab,
    /// Our gateway against strongSwan.
    Interop,
    /// Two gateways as a pair that fails over.
    Ha,
    /// Other kernels in virtual machines.
    Vm,
}

impl Tier {
    /// What `cargo xtask test` runs when it is not told.
    pub(crate) const DEFAULT: [Self; 6] = [
        Self::Unit,
        Self::Pair,
        Self::Kernel,
        Self::Lab,
        Self::Interop,
        Self::Ha,
    ];

    /// Its name, also the prefix of its files in `tests/tests`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Pair => "pair",
            Self::Kernel => "kernel",
            Self::Lab => "lab",
            Self::Interop => "interop",
            Self::Ha => "ha",
            Self::Vm => "vm",
        }
    }

    /// Whether it needs root, Linux and BPF.
    pub(crate) const fn needs_root(self) -> bool {
        !matches!(self, Self::Unit | Self::Pair)
    }

    /// How many tests may run at once; nothing means as many as there are CPUs. Labs are apart from each other, but what
    /// they measure depends on the CPUs they share.
    pub(crate) const fn threads(self) -> Option<u32> {
        match self {
            Self::Unit | Self::Pair => None,
            Self::Kernel | Self::Lab | Self::Interop => Some(2),
            Self::Ha | Self::Vm => Some(1),
        }
    }

    /// The tier of a test program. Files in `tests/tests` say it by their name; one that does not is a mistake.
    pub(crate) fn of(target: &Target) -> Result<Self, String> {
        if !target.is_integration_test() {
            return Ok(Self::Unit);
        }
        match target.package.as_str() {
            "gateway-tests" => {
                let prefix = target.name.split('_').next().unwrap_or_default();
                let root_tiers = Self::value_variants().iter().filter(|tier| tier.needs_root());
                root_tiers
                    .copied()
                    .find(|tier| tier.name() == prefix)
                    .ok_or_else(|| {
                        format!(
                            "tests/tests/{}.rs: its name must start with a tier, such as lab_",
                            target.name
                        )
                    })
            }
            "gateway-ike" if target.name.starts_with("pair") => Ok(Self::Pair),
            _ => Ok(Self::Unit),
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(package: &str, kind: &str, name: &str, expected: Option<Tier>) {
        let target = Target {
            package: package.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
        };
        assert_eq!(Tier::of(&target).ok(), expected);
    }

    #[test]
    fn a_test_program_belongs_to_one_tier() {
        check("gateway-ike", "lib", "gateway_ike", Some(Tier::Unit));
        check("gateway-ike", "test", "vectors", Some(Tier::Unit));
        check("gateway-ike", "test", "pair_quick", Some(Tier::Pair));
        check("gateway-user", "bin", "gateway", Some(Tier::Unit));
        check("gateway-tests", "lib", "gateway_tests", Some(Tier::Unit));
        check("gateway-tests", "test", "kernel_xdp", Some(Tier::Kernel));
        check("gateway-tests", "test", "interop_matrix", Some(Tier::Interop));
        check("gateway-tests", "test", "nameless", None);
    }
}

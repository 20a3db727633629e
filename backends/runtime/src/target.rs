//! target - which processor and system code is made for, and whether this is one.

use crate::error::{Error, Result};

/// What code needs of the machine it runs on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Target triple, `x86_64-unknown-linux-gnu`.
    pub triple: String,
    /// Processor features beyond the architecture's first version, by the names Rust uses (`avx2`, `sse4.1`).
    pub features: Vec<String>,
}

macro_rules! x86_features {
    ($($name:tt)*) => {
        /// Every feature name the runtime can ask the processor about.
        const KNOWN: &[&str] = &[$($name),*];

        /// Whether this processor has the feature; `None` for an unknown name.
        #[cfg(target_arch = "x86_64")]
        fn detect(name: &str) -> Option<bool> {
            match name {
                $($name => Some(std::arch::is_x86_feature_detected!($name)),)*
                _ => None,
            }
        }
    };
}
x86_features! {
    "sse" "sse2" "sse3" "ssse3" "sse4.1" "sse4.2" "cmpxchg16b" "popcnt"
    "avx" "avx2" "bmi1" "bmi2" "f16c" "fma" "lzcnt" "movbe"
    "avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl"
    "avx512vnni" "avx512vbmi" "avx512vbmi2" "avx512bitalg" "avx512vpopcntdq" "avx512ifma" "avx512bf16"
    "avxvnni" "vpclmulqdq" "gfni"
}

#[cfg(not(target_arch = "x86_64"))]
fn detect(_: &str) -> Option<bool> {
    None
}

/// The x86-64 levels, each with the features it adds to the one before.
const LEVELS: [(&str, &[&str]); 3] = [
    ("x86-64-v2", &["sse3", "ssse3", "sse4.1", "sse4.2", "cmpxchg16b", "popcnt"]),
    ("x86-64-v3", &["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe"]),
    ("x86-64-v4", &["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"]),
];

/// Features this processor has, of those the runtime knows.
#[must_use]
pub fn host_features() -> Vec<&'static str> {
    KNOWN.iter().copied().filter(|name| detect(name) == Some(true)).collect()
}

/// The highest level of features this processor has all of: `x86-64-v3`, or `generic`.
#[must_use]
pub fn host_level() -> &'static str {
    let has_all = |names: &[&str]| names.iter().all(|name| detect(name) == Some(true));
    LEVELS.iter().take_while(|(_, adds)| has_all(adds)).last().map_or("generic", |(level, _)| level)
}

/// The triple of the machine this runs on.
#[must_use]
pub fn host_triple() -> String {
    let environment = if cfg!(target_env = "musl") {
        "-musl"
    } else if cfg!(target_env = "gnu") {
        "-gnu"
    } else {
        ""
    };
    format!("{}-unknown-{}{environment}", std::env::consts::ARCH, std::env::consts::OS)
}

impl Target {
    /// Checks that this machine can run code for the target.
    ///
    /// # Errors
    /// E0703 for another architecture or system, E0704 when the processor lacks features.
    pub fn check_host(&self) -> Result<()> {
        let mut parts = self.triple.split('-');
        let arch = parts.next().unwrap_or_default();
        // Code imports nothing, so only what decides the calling convention must agree.
        if arch != std::env::consts::ARCH || !parts.any(|part| part == std::env::consts::OS) {
            let message = format!("made for {}, this is {}", self.triple, host_triple());
            return Err(Error::new(703, message).with_help("recompile on this machine, or with --triple"));
        }
        let lacking: Vec<_> =
            self.features.iter().filter(|name| detect(name) != Some(true)).map(String::as_str).collect();
        if lacking.is_empty() {
            return Ok(());
        }
        let (needs, lacks) = (self.features.join(", "), lacking.join(", "));
        let message = format!("needs {}; this CPU lacks {}", needs, lacks);
        Err(Error::new(704, message).with_help(format!("recompile with --cpu {}", host_level())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(triple: &str, features: &[&str]) -> Target {
        Target { triple: triple.into(), features: features.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn the_host_can_run_its_own_code() {
        target(&host_triple(), &host_features()).check_host().unwrap();
        let other_libc = host_triple().replace("-gnu", "-musl");
        target(&other_libc, &[]).check_host().unwrap();
    }

    #[test]
    fn other_machines_are_refused() {
        for triple in ["s390x-unknown-linux-gnu", "", "x86_64", "x86_64-unknown-none", "-linux"] {
            assert_eq!(target(triple, &[]).check_host().unwrap_err().code(), 703, "{triple}");
        }
    }

    #[test]
    fn lacking_features_are_named_with_the_cure() {
        let error = target(&host_triple(), &["sse2", "avx1024"]).check_host().unwrap_err();
        assert_eq!(error.code(), 704);
        #[cfg(target_arch = "x86_64")]
        assert_eq!(error.message(), "needs sse2, avx1024; this CPU lacks avx1024");
        assert!(error.help().unwrap().contains(host_level()));
    }
}

//! target - which processor code is made for: Cranelift's flags, plain facts for the passes, features the code needs.

use std::sync::Arc;

use cranelift_codegen::{
    isa::{self, OwnedTargetIsa, TargetIsa},
    settings::{self, Configurable},
};
use nnc_ir::diag::Diagnostic;
use target_lexicon::{Architecture, Triple};

/// Facts about a processor that passes may look at. Plain data; nothing here depends on the machine that compiles, but
/// for `native`, which is resolved once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetDesc {
    /// Name of the processor level, `x86-64-v3`.
    pub cpu: String,
    /// Bytes of the widest vector.
    pub vector_bytes: usize,
    /// Number of vector registers.
    pub vector_registers: usize,
    /// Bytes of the first-level data cache.
    pub l1_bytes: usize,
    /// Bytes of the second-level cache.
    pub l2_bytes: usize,
    /// Bytes of the last-level cache that one core may count on.
    pub l3_bytes: usize,
}

/// A processor to compile for.
#[derive(Clone)]
pub struct Target {
    /// For loop nests.
    pub isa: Arc<dyn TargetIsa>,
    /// For entries, which are straight lines of calls that no optimisation helps.
    pub entry_isa: Arc<dyn TargetIsa>,
    /// Wide instructions that tiles may use, if there are any: other code is Cranelift's, with 128-bit vectors.
    pub wide: Option<nnc_x86::Level>,
    /// Facts for the passes.
    pub desc: TargetDesc,
    /// Target triple.
    pub triple: String,
    /// Features that the code needs beyond the first version of the architecture, by the names Rust uses.
    pub features: Vec<String>,
}

/// A feature by Rust's name, and Cranelift's flag for it, if it has one.
type Feature = (&'static str, Option<&'static str>);

/// The x86-64 levels, each with the features it adds to the one before. Code needs SSE4.1 at least, so there is no level
/// below the second.
const LEVELS: [(&str, &[Feature]); 3] = [
    (
        "x86-64-v2",
        &[
            ("sse3", Some("has_sse3")),
            ("ssse3", Some("has_ssse3")),
            ("sse4.1", Some("has_sse41")),
            ("sse4.2", Some("has_sse42")),
            ("popcnt", Some("has_popcnt")),
        ],
    ),
    (
        "x86-64-v3",
        &[
            ("avx", Some("has_avx")),
            ("avx2", Some("has_avx2")),
            ("bmi1", Some("has_bmi1")),
            ("bmi2", Some("has_bmi2")),
            ("f16c", None),
            ("fma", Some("has_fma")),
            ("lzcnt", Some("has_lzcnt")),
        ],
    ),
    (
        "x86-64-v4",
        &[
            ("avx512f", Some("has_avx512f")),
            ("avx512bw", None),
            ("avx512cd", None),
            ("avx512dq", Some("has_avx512dq")),
            ("avx512vl", Some("has_avx512vl")),
        ],
    ),
];

/// Features beyond the levels that `native` takes where they are.
const EXTRAS: [Feature; 2] = [("avx512vnni", Some("has_avx512vnni")), ("avxvnni", Some("has_avx_vnni"))];

impl Target {
    /// The target of a processor name (`native`, `generic`, `x86-64-v2`, `x86-64-v3`, `x86-64-v4`) and a triple, by
    /// default that of the machine this runs on. With `verify`, Cranelift checks every function before it compiles it.
    ///
    /// # Errors
    /// E0407 for a processor or triple that is not known.
    pub fn new(cpu: &str, triple: Option<&str>, verify: bool) -> Result<Self, Box<Diagnostic>> {
        let text = triple.map_or_else(nnc_runtime::host_triple, str::to_owned);
        let parsed: Triple = text.parse().map_err(|_| {
            Box::new(Diagnostic::error(407, format!("the target triple '{text}' is not known")))
        })?;
        let x86 = parsed.architecture == Architecture::X86_64;
        let features = if x86 { x86_features(cpu, &text)? } else { other_features(cpu, &text)? };
        let make = |opt_level: &str| make_isa(parsed.clone(), opt_level, verify, &features);
        let (isa, entry_isa) = (make("speed")?, make("none")?);
        let names: Vec<String> = features.iter().map(|(name, _)| (*name).to_owned()).collect();
        let has = |name: &str| names.iter().any(|n| n == name);
        let (vector_bytes, vector_registers) = match (x86, has("avx512f"), has("avx2")) {
            (true, true, _) => (64, 32),
            (true, false, true) => (32, 16),
            (true, false, false) => (16, 16),
            (false, ..) => (16, 32),
        };
        let desc = TargetDesc {
            cpu: cpu.to_owned(),
            vector_bytes,
            vector_registers,
            l1_bytes: 32 << 10,
            l2_bytes: 512 << 10,
            l3_bytes: 4 << 20,
        };
        let wide = if x86 { nnc_x86::Level::of(has) } else { None };
        Ok(Self { isa, entry_isa, wide, desc, triple: text, features: names })
    }

    /// What measurements on this machine hold for: the instructions that code may use, and the machine's processor.
    #[must_use]
    pub fn processor(&self) -> String {
        let has = |name: &str| self.features.iter().any(|f| f == name);
        let whole = LEVELS.iter().take_while(|(_, adds)| adds.iter().all(|(name, _)| has(name))).last();
        let arch = self.triple.split('-').next().unwrap_or_default();
        let mut text = whole.map_or(arch, |(level, _)| level).to_owned();
        for (extra, _) in EXTRAS.iter().filter(|(name, _)| has(name)) {
            text = format!("{text}+{extra}");
        }
        format!("{text} on {}", nnc_runtime::host_processor())
    }

    /// The machine this runs on.
    ///
    /// # Errors
    /// E0407 where Cranelift does not know it.
    pub fn native() -> Result<Self, Box<Diagnostic>> {
        Self::new("native", None, cfg!(debug_assertions))
    }
}

fn x86_features(cpu: &str, triple: &str) -> Result<Vec<Feature>, Box<Diagnostic>> {
    if cpu == "native" {
        let host = nnc_runtime::host_features();
        let all = LEVELS.iter().flat_map(|(_, adds)| adds.iter()).chain(&EXTRAS);
        return Ok(all.copied().filter(|(name, _)| host.contains(name)).collect());
    }
    let cpu = if cpu == "generic" { LEVELS[0].0 } else { cpu };
    match LEVELS.iter().position(|(name, _)| *name == cpu) {
        Some(level) => Ok(LEVELS[..=level].iter().flat_map(|(_, adds)| adds.iter().copied()).collect()),
        None => Err(unknown_cpu(cpu, triple, "use native, generic, x86-64-v2, x86-64-v3 or x86-64-v4")),
    }
}

fn other_features(cpu: &str, triple: &str) -> Result<Vec<Feature>, Box<Diagnostic>> {
    if matches!(cpu, "native" | "generic") {
        return Ok(Vec::new());
    }
    Err(unknown_cpu(cpu, triple, "use generic"))
}

fn unknown_cpu(cpu: &str, triple: &str, help: &str) -> Box<Diagnostic> {
    Box::new(Diagnostic::error(407, format!("the processor '{cpu}' is not known for {triple}")).help(help))
}

fn make_isa(
    triple: Triple,
    opt_level: &str,
    verify: bool,
    features: &[Feature],
) -> Result<OwnedTargetIsa, Box<Diagnostic>> {
    let text = triple.to_string();
    let bad = |what: String| Box::new(Diagnostic::error(407, format!("no code for {text}: {what}")));
    let mut flags = settings::builder();
    // `is_pic` would take addresses of our own functions from a global offset table that a blob has not; without it
    // colocated functions are addressed relative to the instruction, and the linker refuses anything absolute.
    let settings = [
        ("opt_level", opt_level),
        ("is_pic", "false"),
        ("enable_verifier", if verify { "true" } else { "false" }),
        ("unwind_info", "false"),
        ("enable_probestack", "false"),
    ];
    for (key, value) in settings {
        flags.set(key, value).map_err(|e| bad(e.to_string()))?;
    }
    let mut builder = isa::lookup(triple).map_err(|e| bad(e.to_string()))?;
    for flag in features.iter().filter_map(|(_, flag)| *flag) {
        builder.enable(flag).map_err(|e| bad(e.to_string()))?;
    }
    builder.finish(settings::Flags::new(flags)).map_err(|e| bad(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_add_features_and_unknown_names_are_refused() {
        let triple = Some("x86_64-unknown-linux-gnu");
        let v3 = Target::new("x86-64-v3", triple, true).unwrap_or_else(|e| panic!("{e}"));
        assert!(v3.features.contains(&"fma".to_owned()) && v3.features.contains(&"sse4.1".to_owned()));
        assert_eq!((v3.desc.vector_bytes, v3.desc.vector_registers), (32, 16));
        let generic = Target::new("generic", triple, true).unwrap_or_else(|e| panic!("{e}"));
        let v2 = Target::new("x86-64-v2", triple, true).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((&generic.features, generic.desc.vector_bytes), (&v2.features, 16));
        for (cpu, triple) in [
            ("z80", triple),
            ("generic", Some("not-a-triple")),
            ("x86-64-v3", Some("aarch64-unknown-linux-gnu")),
        ] {
            let error = Target::new(cpu, triple, true).map(|t| t.triple).expect_err("must be refused");
            assert_eq!(error.code.0, 407, "{error}");
        }
        assert!(Target::new("generic", Some("aarch64-unknown-linux-gnu"), true).is_ok());
    }

    #[test]
    fn native_needs_nothing_this_machine_lacks() {
        let native = Target::native().unwrap_or_else(|e| panic!("{e}"));
        let host = nnc_runtime::host_features();
        assert!(native.features.iter().all(|f| host.contains(&f.as_str())));
    }
}

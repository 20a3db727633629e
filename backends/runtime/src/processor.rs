//! processor - what this machine's processor is called, and how large its caches are.

use std::{fs, path::Path};

/// Name and caches of the processor, `AMD EPYC 9R45 48K 1024K 32768K`; `unknown` where the system does not say.
#[must_use]
pub fn host_processor() -> String {
    let name = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| name_in(&text));
    let caches = caches_in(Path::new("/sys/devices/system/cpu/cpu0/cache"));
    let parts: Vec<String> = name.into_iter().chain(caches).collect();
    if parts.is_empty() { "unknown".to_owned() } else { parts.join(" ") }
}

/// The first processor's name. Where there is none, what the system has for it: numbers of maker and part.
fn name_in(cpuinfo: &str) -> Option<String> {
    let field = |wanted: &str| {
        let mut fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(name, _)| name.trim() == wanted).map(|(_, value)| words(value))
    };
    let numbers = || Some(format!("{} {}", field("CPU implementer")?, field("CPU part")?));
    field("model name").filter(|name| !name.is_empty()).or_else(numbers)
}

/// Sizes of the caches that hold data, by level.
fn caches_in(folder: &Path) -> Vec<String> {
    let mut found: Vec<(String, String)> = (0..8)
        .filter_map(|index| {
            let read = |what: &str| {
                fs::read_to_string(folder.join(format!("index{index}/{what}"))).ok().map(|text| words(&text))
            };
            (read("type")? != "Instruction").then_some((read("level")?, read("size")?))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, size)| size).collect()
}

/// Words with single spaces between them, and nothing that ends a line.
fn words(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_first_processor() {
        let x86 = "processor\t: 0\nmodel name\t: AMD  EPYC\t9R45\nprocessor\t: 1\nmodel name\t: other\n";
        assert_eq!(name_in(x86).as_deref(), Some("AMD EPYC 9R45"));
        let arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n";
        assert_eq!(name_in(arm).as_deref(), Some("0x41 0xd40"));
        assert_eq!(name_in("processor : 0\n"), None);
    }

    #[test]
    fn this_machine_has_a_line_of_text() {
        let text = host_processor();
        assert!(!text.is_empty() && !text.contains(['\t', '\n']), "{text:?}");
    }
}

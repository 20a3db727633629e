//! tests - artefacts: round trip, damage of every kind, tables and manifests that lie, files.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use prost::Message;

use super::manifest::Manifest;
use super::write::{replace, write_error};
use super::*;
use crate::arena::AlignedBytes;
use crate::elem::ElemType;
use crate::error::{Error, Result};
use crate::externs::Extern;
use crate::image::{Entries, Image, Kernel, Work};
use crate::signature::{Dim, Port, Signature, Symbol};
use crate::target::{Target, host_triple};
use crate::weights::{WeightSection, Weights};

fn image() -> Image {
    let port =
        |name: &str, dims: &[Dim]| Port { name: name.into(), elem: ElemType::F32, dims: dims.to_vec() };
    Image {
        name: "tiny".into(),
        target: Target { triple: host_triple(), features: vec!["sse2".into()] },
        code: (0..300).map(|i| i as u8).collect(),
        entries: Entries { bind: 0, output_dims: 16, workspace_bytes: 32, run: 48 },
        signature: Signature {
            inputs: vec![port("x", &[Dim::Symbol(0), Dim::Fixed(3)]), port("k", &[])],
            outputs: vec![port("y", &[Dim::Derived, Dim::Fixed(0)])],
            symbols: vec![Symbol { name: "N".into(), min: 1, max: i64::MAX }],
        },
        weights: Weights::new(vec![
            WeightSection::copied(&[1; 100]).unwrap(),
            WeightSection::copied(&[]).unwrap(),
            WeightSection::copied(&[2; 700]).unwrap(),
        ]),
        kernels: vec![Kernel {
            name: "k0".into(),
            offset: 64,
            len: 100,
            nodes: vec![0, 1],
            work: Work { flops: "2*s0".into(), read: "12*s0".into(), written: String::new() },
        }],
        nodes: vec!["conv_0".into(), "relu_1".into()],
        externs: vec![Extern::NonZero],
        notes: vec![("opt".into(), "2".into())],
    }
}

fn load(bytes: &[u8]) -> Result<Image> {
    from_bytes(AlignedBytes::copy_of(bytes)?)
}

fn code(result: &Result<Image>) -> u16 {
    result.as_ref().err().map_or(0, Error::code)
}

/// What digests a header and its table again.
fn reseal(bytes: &mut [u8]) {
    let end = 96 + 64 * u32::from_le_bytes(*bytes[40..].first_chunk().unwrap()).min(16) as usize;
    if let Some(head) = bytes.get_mut(..end) {
        layout::seal(head);
    }
}

#[test]
fn images_round_trip_and_bytes_are_the_same() {
    let bytes = to_bytes(&image()).unwrap();
    assert_eq!(bytes, to_bytes(&image()).unwrap());
    let read = load(&bytes).unwrap();
    assert_eq!(format!("{read:?}"), format!("{:?}", image()));
    for (a, b) in read.weights.sections().iter().zip(image().weights.sections()) {
        assert_eq!(a.bytes(), b.bytes());
        assert_eq!(a.bytes().as_ptr().addr() % 64, 0);
    }
    assert_eq!(to_bytes(&read).unwrap(), bytes);
    let mut bare = image();
    bare.weights = Weights::default();
    assert_eq!(load(&to_bytes(&bare).unwrap()).unwrap().weights.sections().len(), 0);
}

#[test]
fn every_truncation_and_extension_is_an_error() {
    let bytes = to_bytes(&image()).unwrap();
    for len in 0..bytes.len() {
        let code = code(&load(&bytes[..len]));
        assert_eq!(code, if len < 8 { 701 } else { 705 }, "{len}");
    }
    for more in [1, 63, 64, 1000] {
        assert_eq!(code(&load(&[&bytes[..], &vec![0; more]].concat())), 705);
    }
}

#[test]
fn every_flipped_bit_is_an_error() {
    let mut bytes = to_bytes(&image()).unwrap();
    assert!((1500..3000).contains(&bytes.len()), "{}", bytes.len());
    for bit in 0..8 * bytes.len() {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let code = code(&load(&bytes));
        assert!((701..=710).contains(&code), "bit {bit} gives {code}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn what_is_something_else_is_told() {
    for other in [&b""[..], b"\x7fELF\x02\x01\x01", b"\x08\x07\x12\x07pytorch", &[0; 5000], b"PK\x03\x04"] {
        assert_eq!(code(&load(other)), 701);
        assert!(!is_artefact(other));
    }
    let change = |at: usize, new: &[u8]| {
        let mut bytes = to_bytes(&image()).unwrap();
        bytes[at..at + new.len()].copy_from_slice(new);
        reseal(&mut bytes);
        load(&bytes).unwrap_err()
    };
    let error = change(16, b"9.8.7\0");
    assert_eq!(error.code(), 702);
    assert!(error.message().starts_with("made by nnc 9.8.7 (format 1), this is "), "{error}");
    assert_eq!(change(12, &[2]).code(), 702);
    assert_eq!(change(12, &[0]).code(), 702);
    assert_eq!(change(8, &[1, 2, 3, 4]).code(), 703);
    assert_eq!(change(32, &[0; 8]).code(), 705);
    assert_eq!(change(45, &[1]).code(), 706);
}

#[test]
fn tables_that_lie_are_found_out() {
    let bytes = to_bytes(&image()).unwrap();
    let table = |change: &dyn Fn(&mut [u8])| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        reseal(&mut bytes);
        load(&bytes).unwrap_err()
    };
    let put = |entry: usize, at: usize, value: u64| {
        table(&move |b: &mut [u8]| b[96 + 64 * entry + at..][..8].copy_from_slice(&value.to_le_bytes()))
    };
    let offset = |entry: usize| u64::from_le_bytes(*bytes[96 + 64 * entry + 16..].first_chunk().unwrap());
    for count in [0, 1, 2, 4, 16, 17, u32::MAX] {
        assert_eq!(table(&move |b| b[40..44].copy_from_slice(&count.to_le_bytes())).code(), 706, "{count}");
    }
    for (entry, value) in [(1, offset(1) + 1), (1, offset(0)), (0, 0), (2, 1 << 60), (2, !63)] {
        assert_eq!(put(entry, 16, value).code(), 706);
    }
    assert_eq!(put(2, 16, offset(2) + 64).code(), 706);
    for (entry, value) in [(0, 0), (1, u64::MAX), (2, 1 << 62), (1, 1 << 20), (2, 10)] {
        assert_eq!(put(entry, 24, value).code(), 706);
    }
    let error = table(&|b| b[160..168].copy_from_slice(b"manifest"));
    assert_eq!(error.message(), "section table: section 'manifest' is there twice");
    let error = table(&|b| b[160..168].copy_from_slice(b"evil\x1b[2J"));
    assert_eq!(error.message(), "section table: unknown section 'evil\\u{1b}[2J'");
}

/// The artefact with another manifest, every digest right.
fn with_manifest(manifest: &[u8]) -> Vec<u8> {
    let bytes = to_bytes(&image()).unwrap();
    let [_, code, weights] = layout::decode(&bytes).unwrap();
    let contents = [manifest, &bytes[code], &bytes[weights]];
    let digest = |bytes: &[u8]| (bytes.len() as u64, blake3::hash(bytes).into());
    let (sections, file_bytes) = layout::place(contents.map(digest)).unwrap();
    let mut new = layout::encode(&sections, file_bytes);
    for (section, content) in sections.iter().zip(contents) {
        new.resize(section.offset as usize, 0);
        new.extend(content);
    }
    new
}

fn manifest() -> Vec<u8> {
    let bytes = to_bytes(&image()).unwrap();
    let [manifest, _, _] = layout::decode(&bytes).unwrap();
    bytes[manifest].to_vec()
}

#[test]
fn manifests_that_lie_are_found_out() {
    assert_eq!(with_manifest(&manifest()), to_bytes(&image()).unwrap());
    let change = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = Manifest::decode(&manifest()[..]).unwrap();
        change(&mut manifest);
        code(&load(&with_manifest(&manifest.encode_to_vec())))
    };
    assert_eq!(change(&|_| {}), 0);
    assert_eq!(change(&|m| m.entries = None), 707);
    assert_eq!(change(&|m| m.weights[0].offset = 1), 707);
    assert_eq!(change(&|m| m.weights[0].offset = 1 << 60), 707);
    assert_eq!(change(&|m| m.weights[2].bytes += 1), 707);
    assert_eq!(change(&|m| m.weights[2].bytes = u64::MAX), 707);
    assert_eq!(change(&|m| m.symbols.clear()), 707);
    assert_eq!(change(&|m| m.nodes.clear()), 707);
    assert_eq!(code(&load(&with_manifest(&[]))), 707);
    // An unknown field, and a field twice.
    assert_eq!(code(&load(&with_manifest(&[&manifest()[..], &[0x78, 1]].concat()))), 707);
    assert_eq!(code(&load(&with_manifest(&[&manifest()[..], &[0x0a, 1, b'x']].concat()))), 707);
}

/// A generator of numbers that look random (Vigna, xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

#[test]
fn resealed_mutations_never_panic() {
    let (original, manifest) = (to_bytes(&image()).unwrap(), manifest());
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut accepted = 0;
    for round in 0..40_000 {
        let result = if round % 2 == 0 {
            let mut manifest = manifest.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(manifest.len());
                match random.below(3) {
                    0 => manifest[at] = random.below(256) as u8,
                    1 => drop(manifest.remove(at)),
                    _ => manifest.insert(at, random.below(256) as u8),
                }
            }
            load(&with_manifest(&manifest))
        } else {
            let mut bytes = original.clone();
            for _ in 0..=random.below(3) {
                // The header after its versions, and the table.
                let at = 32 + random.below(32 + 3 * 64);
                bytes[at] = [0, 1, 0x40, 0x7f, 0x80, 0xff][random.below(6)];
            }
            reseal(&mut bytes);
            load(&bytes)
        };
        match result {
            // What passes must be whole.
            Ok(image) => {
                image.check().unwrap();
                accepted += 1;
            }
            Err(error) => assert!([501, 701, 702, 703, 705, 706, 707].contains(&error.code()), "{error}"),
        }
    }
    assert!(accepted > 100, "{accepted}");
}

/// A directory of its own for a test, removed afterwards.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nnc-artefact-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn files_are_written_whole_and_read() {
    let directory = Directory::new("whole");
    let path = directory.0.join("m.nnc");
    for _ in 0..2 {
        let bytes = write(&image(), &path).unwrap();
        assert_eq!(bytes, fs::metadata(&path).unwrap().len());
        assert_eq!(fs::read(&path).unwrap(), to_bytes(&image()).unwrap());
        assert_eq!(directory.names(), ["m.nnc"]);
    }
    assert_eq!(format!("{:?}", read(&path, 1 << 20).unwrap()), format!("{:?}", image()));
    assert_eq!(code(&read(&path, 100)), 501);
}

#[test]
fn links_are_replaced_not_followed() {
    let directory = Directory::new("link");
    let (target, link) = (directory.0.join("precious"), directory.0.join("m.nnc"));
    fs::write(&target, "precious").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&target, &link).unwrap();
    write(&image(), &link).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    read(&link, 1 << 20).unwrap();
}

#[test]
fn places_that_cannot_be_written_are_errors() {
    let directory = Directory::new("places");
    let code = |path: PathBuf| write(&image(), &path).unwrap_err().code();
    assert_eq!(code(directory.0.clone()), 602);
    assert_eq!(code(directory.0.join("none/m.nnc")), 602);
    assert_eq!(code(directory.0.join("..")), 602);
    assert_eq!(code(PathBuf::new()), 602);
    fs::write(directory.0.join("file"), "").unwrap();
    assert_eq!(code(directory.0.join("file/m.nnc")), 602);
    assert_eq!(directory.names(), ["file"]);
    assert_eq!(super::read(&directory.0, 1 << 20).unwrap_err().code(), 603);
    assert_eq!(super::read(&directory.0.join("none"), 1 << 20).unwrap_err().code(), 603);
    assert_eq!(super::read(&directory.0.join("file"), 1 << 20).unwrap_err().code(), 701);
}

#[test]
fn a_full_disk_changes_nothing() {
    let directory = Directory::new("full");
    let path = directory.0.join("m.nnc");
    fs::write(&path, "as it was").unwrap();
    let cause = replace(&path, |file| {
        file.write_all(&[1; 1000])?;
        Err(ErrorKind::StorageFull.into())
    });
    let error = write_error(&path, 5000, &cause.unwrap_err());
    assert_eq!(error.code(), 601);
    assert!(error.message().starts_with("writing 5000 bytes to "));
    assert_eq!(fs::read(&path).unwrap(), b"as it was");
    assert_eq!(directory.names(), ["m.nnc"]);
}

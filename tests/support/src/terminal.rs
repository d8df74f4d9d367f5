//! A terminal: what a person sees of a program.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::thread::{self, JoinHandle};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A terminal of so many columns.
pub struct Terminal {
    /// The program's side, until the program has it.
    side: OwnedFd,
    read: JoinHandle<Vec<u8>>,
}

impl Terminal {
    pub fn new(columns: u16) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&controller, size).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let side = rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let mut screen = File::from(controller);
        let read = thread::spawn(move || {
            let mut shown = vec![];
            // Ends with an error once the program and this have let go of it.
            let _ = screen.read_to_end(&mut shown);
            shown
        });
        Self { side, read }
    }

    /// A descriptor of the program's.
    pub fn stdio(&self) -> Stdio {
        self.side.try_clone().unwrap().into()
    }

    /// All that was shown, when the program has ended.
    pub fn shown(self) -> String {
        drop(self.side);
        String::from_utf8(self.read.join().unwrap()).unwrap()
    }
}

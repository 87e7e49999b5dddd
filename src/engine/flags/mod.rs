//! The flag table of `engine`: general flags, those of each workload, and those that LMCache does not have.

use crate::cli::flag::{BEYOND, Flag, Group, OPTIONS};
use crate::cli::parse::Table;
use crate::engine::workload::WORKLOADS;
use crate::engine::workload::descriptor::WorkloadFlag;
use crate::python::quote::quoted;

mod beyond;
mod cache;
mod general;
mod load;
mod page;
mod staircase;

pub use crate::engine::args::EngineArgs;
pub use page::page;

pub const TABLE: Table<EngineArgs> = Table {
    program: "lmcache-bench engine",
    flags: &FLAGS,
    absent: &[],
};

const COUNT: usize = general::FLAGS.len()
    + load::FLAGS.len()
    + cache::FLAGS.len()
    + staircase::FLAGS.len()
    + beyond::RESULTS.len()
    + beyond::REQUESTS.len()
    + workload_flags();

const fn workload_flags() -> usize {
    let (mut at, mut count) = (0, 0);
    while at < WORKLOADS.len() {
        count += WORKLOADS[at].flags.len() + WORKLOADS[at].added_flags.len();
        at += 1;
    }
    count
}

/// All flags in the order of the help.
static FLAGS: [Flag<EngineArgs>; COUNT] = {
    let mut rows = Rows {
        all: [general::FLAGS[0]; COUNT],
        count: 0,
    };
    rows = rows.with(general::FLAGS, &OPTIONS);
    let mut at = 0;
    while at < WORKLOADS.len() {
        rows = rows.with_flags(WORKLOADS[at].flags, &WORKLOADS[at].group);
        at += 1;
    }
    rows = rows.with(load::FLAGS, &load::LOAD);
    rows = rows.with(cache::FLAGS, &cache::CACHE);
    rows = rows.with(staircase::FLAGS, &staircase::STAIRCASE);
    rows = rows.with(beyond::RESULTS, &BEYOND);
    at = 0;
    while at < WORKLOADS.len() {
        rows = rows.with_flags(WORKLOADS[at].added_flags, &BEYOND);
        at += 1;
    }
    rows.with(beyond::REQUESTS, &BEYOND).all
};

/// A table under construction, at compile time.
#[derive(Clone, Copy)]
struct Rows {
    all: [Flag<EngineArgs>; COUNT],
    count: usize,
}

impl Rows {
    const fn with(mut self, rows: &[Flag<EngineArgs>], group: &'static Group) -> Rows {
        let mut at = 0;
        while at < rows.len() {
            self = self.with_row(rows[at], group);
            at += 1;
        }
        self
    }

    const fn with_flags(mut self, flags: &[WorkloadFlag], group: &'static Group) -> Rows {
        let mut at = 0;
        while at < flags.len() {
            self = self.with_row(flags[at].row, group);
            at += 1;
        }
        self
    }

    const fn with_row(mut self, mut row: Flag<EngineArgs>, group: &'static Group) -> Rows {
        row.spec.group = group;
        self.all[self.count] = row;
        self.count += 1;
        self
    }
}

impl EngineArgs {
    /// Sets a flag by name from text, like the command line. `None` if there is no such flag.
    pub fn set(&mut self, long: &str, text: &str) -> Option<Result<(), String>> {
        let flag = FLAGS.iter().find(|flag| flag.spec.long == long)?;
        let choices = flag.spec.choices;
        if !choices.is_empty() && !choices.contains(&text) {
            let (shown, choices) = (quoted(text), choices.join(", "));
            return Some(Err(format!("invalid choice: {shown}; choose from {choices}")));
        }
        Some((flag.set)(self, text))
    }
}

#[cfg(test)]
mod tests;

//! A stall of the whole engine: when what is due in it leaves. Uses no clock.

/// A span in which the engine sends nothing. The default is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stall {
    pub begin_ns: u64,
    pub end_ns: u64,
}

impl Stall {
    /// The same span, counted from `origin_ns`.
    pub fn counted_from(self, origin_ns: u64) -> Stall {
        Stall {
            begin_ns: self.begin_ns.saturating_add(origin_ns),
            end_ns: self.end_ns.saturating_add(origin_ns),
        }
    }

    /// When something leaves that is due at `due_ns`: at the end of the stall if that is in it.
    pub fn release_ns(&self, due_ns: u64) -> u64 {
        match (self.begin_ns..self.end_ns).contains(&due_ns) {
            true => self.end_ns,
            false => due_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_in_a_stall_leaves_at_its_end() {
        let stall = Stall {
            begin_ns: 10,
            end_ns: 20,
        }
        .counted_from(100);
        assert_eq!(
            [109, 110, 119, 120, 121].map(|due_ns| stall.release_ns(due_ns)),
            [109, 120, 120, 120, 121]
        );
        assert_eq!(Stall::default().release_ns(0), 0);
    }
}

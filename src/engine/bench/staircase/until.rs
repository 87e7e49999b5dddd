//! A workload that ends at a given time, after the request that is in flight then. The runner's own deadline ends it for good.

use std::time::{Duration, Instant};

use crate::engine::workload::{Finished, Phase, Plan, Step, Workload};
use crate::report::banner::Banner;

pub struct Until {
    pub workload: Box<dyn Workload>,
    pub ends: Instant,
}

impl Workload for Until {
    fn banner(&self) -> Banner {
        self.workload.banner()
    }

    fn plan(&self) -> Plan {
        self.workload.plan()
    }

    fn begin(&mut self, phase: Phase) {
        self.workload.begin(phase);
    }

    fn step(&mut self, elapsed: Duration, finished: &[Finished]) -> Step {
        if Instant::now() >= self.ends {
            return Step::Done;
        }
        self.workload.step(elapsed, finished)
    }

    fn end(&mut self, finished: &[Finished]) {
        self.workload.end(finished);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::{config, finished, golden};
    use crate::engine::tokens::Tokenizer;
    use crate::engine::workload::circle::Documents;
    use crate::ledger::staircase::circle::Circle;

    #[test]
    fn nothing_is_sent_once_the_time_is_over() {
        let tokenizer = Tokenizer::from_folder(&golden("words-tokenizer")).unwrap();
        let documents = Documents::new(&config(&["--staircase"]), &tokenizer).unwrap();
        let mut workload = Until {
            workload: documents.circle(Circle::of(600, 300, 17), 0, 1),
            ends: Instant::now() + Duration::from_secs(3600),
        };
        workload.begin(Phase::Warmup);
        let Step::Send(first) = workload.step(Duration::ZERO, &[]) else {
            panic!("nothing is sent")
        };
        workload.ends = Instant::now();
        let ended = [finished(first.id.as_str(), "")];
        assert!(matches!(workload.step(Duration::ZERO, &ended), Step::Done));
    }
}

//! The text of progress lines, as in LMCache's manual.

use std::time::Duration;

use super::plan::Pass;
use super::runner::Event;

/// The progress line of an event, without a newline.
pub fn line(sequence: u64, event: &Event) -> String {
    let text = match event {
        Event::Lookup {
            pass,
            hits,
            chunks,
            latency,
        } => {
            let pass = match pass {
                Pass::Cold => "cold",
                Pass::Warm => "warm",
            };
            format!("LOOKUP {pass}:  {hits}/{chunks} chunks hit ({:.2} ms)", ms(latency))
        }
        Event::Store {
            chunks,
            accepted,
            latency,
        } => {
            let outcome = if *accepted { "stored" } else { "NOT all stored" };
            format!("STORE:        {chunks} chunks {outcome} ({:.2} ms)", ms(latency))
        }
        Event::Retrieve {
            chunks,
            accepted,
            latency,
        } => {
            let outcome = if *accepted { "retrieved" } else { "NOT retrieved" };
            format!("RETRIEVE:     {chunks} chunks {outcome} ({:.2} ms)", ms(latency))
        }
        Event::Mismatch {
            rank,
            chunk,
            stored,
            retrieved,
        } => {
            format!("CHECKSUM MISMATCH chunk {chunk} of rank {rank}: stored {stored}, retrieved {retrieved}")
        }
        Event::Passed => "CHECKSUM MATCH OK".to_owned(),
        Event::Failed(sentence) => format!("ERROR: {sentence}"),
    };
    format!("[seq={sequence}] {text}")
}

fn ms(latency: &Duration) -> f64 {
    latency.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_the_manual() {
        let lookup = |pass, hits, us| Event::Lookup {
            pass,
            hits,
            chunks: 2,
            latency: Duration::from_micros(us),
        };
        assert_eq!(
            line(0, &lookup(Pass::Cold, 0, 1820)),
            "[seq=0] LOOKUP cold:  0/2 chunks hit (1.82 ms)"
        );
        let store = Event::Store {
            chunks: 2,
            accepted: true,
            latency: Duration::from_micros(1740),
        };
        assert_eq!(line(0, &store), "[seq=0] STORE:        2 chunks stored (1.74 ms)");
        assert_eq!(
            line(0, &lookup(Pass::Warm, 2, 1310)),
            "[seq=0] LOOKUP warm:  2/2 chunks hit (1.31 ms)"
        );
        let retrieve = Event::Retrieve {
            chunks: 2,
            accepted: true,
            latency: Duration::from_micros(1480),
        };
        assert_eq!(line(0, &retrieve), "[seq=0] RETRIEVE:     2 chunks retrieved (1.48 ms)");
        assert_eq!(line(0, &Event::Passed), "[seq=0] CHECKSUM MATCH OK");
    }
}

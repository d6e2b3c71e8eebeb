//! Replays the corpora: what the fuzzer starts from, and every input that ever was a finding.

use gateway_fuzz::corpus::kept;
use gateway_fuzz::{TARGETS, target};

fn replay(name: &str) {
    let target = target(name);
    for (path, input) in kept(name) {
        println!("{}", path.display());
        (target.run)(&input);
        // Its neighbours too: cut at every quarter.
        for cut in 0..4 {
            (target.run)(&input[..input.len() * cut / 4]);
        }
    }
}

macro_rules! replays {
    ($($name:ident,)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*

        #[test]
        fn every_target_is_replayed() {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

replays! {
    v1_message,
    v2_message,
    v1_encrypted,
    v2_encrypted,
    v1_fragments,
    v2_fragments,
    sequences,
    esp_open,
}

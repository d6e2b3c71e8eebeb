use arrayvec::ArrayVec;

use super::super::BATCH;
use super::Blocks;
use super::hash::Hash;

/// With fewer messages than this left, one after the other is faster than lanes of which most are idle.
const WORTHWHILE: usize = 4;

/// Spreads messages of any lengths over the `N` lanes of a kernel, the longest first.
///
/// The kernel gets the states and inputs of its lanes and how many blocks all of them have.
pub(super) fn compress_each<H: Hash<64>, const N: usize>(
    states: &mut [H::State],
    inputs: &mut [Blocks<'_, 64>],
    kernel: impl Fn(&mut [H::State; N], &[Blocks<'_, 64>; N], usize),
) {
    let count = inputs.first().map_or(0, |blocks| blocks.len());
    if inputs.iter().all(|blocks| blocks.len() == count) {
        // The common case, bulk traffic: whole groups without a search.
        for (states, inputs) in states.as_chunks_mut().0.iter_mut().zip(inputs.as_chunks_mut().0) {
            kernel(states, inputs, count);
            inputs.fill(&[]);
        }
    }
    let unfinished = |at: &usize, inputs: &[Blocks<'_, 64>]| !inputs[*at].is_empty();
    let mut waiting: ArrayVec<usize, BATCH> = (0..states.len().min(inputs.len()))
        .filter(|at| unfinished(at, inputs))
        .collect();
    while waiting.len() >= WORTHWHILE {
        if waiting.len() > N && !waiting.is_sorted_by_key(|at| std::cmp::Reverse(inputs[*at].len())) {
            waiting.sort_unstable_by_key(|at| std::cmp::Reverse(inputs[*at].len()));
        }
        let chosen = &waiting[..waiting.len().min(N)];
        let count = chosen.iter().map(|at| inputs[*at].len()).min().unwrap_or(0);
        // Idle lanes repeat the first one; their result is thrown away.
        let lane = |lane: usize| chosen.get(lane).copied().unwrap_or(chosen[0]);
        let mut lane_states = std::array::from_fn(|i| states[lane(i)]);
        kernel(&mut lane_states, &std::array::from_fn(|i| inputs[lane(i)]), count);
        for (at, state) in chosen.iter().zip(lane_states) {
            states[*at] = state;
            inputs[*at] = &inputs[*at][count..];
        }
        waiting.retain(|at| unfinished(at, inputs));
    }
    for at in waiting {
        H::compress(&mut states[at], inputs[at]);
    }
}
